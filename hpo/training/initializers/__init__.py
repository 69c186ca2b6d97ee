"""Initial weights, one file an entry, registered with `@initializers(...)`.

An initializer fills the weights of linear, convolution and recurrent layers once, before training; it changes nothing
later. What is the same for all of them (biases, embeddings, norms, residual branches, the output head) is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.registry import Entry, Registry
from hpo.training.anatomy import FILLED, Kind, Layer, Weight, layers_of

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from hpo.training.residual import Branch

Bias = Literal["zero", "default", "constant"]
Residual = Literal["default", "zero", "depth"]


class Initializer(Entry):
    """How weights are drawn, and rules for what is not drawn. Whatever no rule speaks of keeps what it was born with.

    An entry defines `fill`. Each weight is drawn on the CPU in float32 or finer from a generator of its own, seeded by
    (seed, its name), then copied: so it is the same on every device, and whatever other layers there are.

    Facts: `kinds` are the layers that an entry fills, and a network without any is an error; `packable` says that the
    members of a pack may begin with it, each from its own seed, `reason` why not.
    """

    kinds: ClassVar[frozenset[Kind]] = FILLED
    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""

    bias: Bias = Field(
        "zero", description="biases of linear, convolution and recurrent layers: 0, as built, or bias_value"
    )
    bias_value: float = Field(0.0, description="what biases are when bias is constant")
    embedding_std: float = Field(
        0.0, ge=0, description="standard deviation of embeddings, drawn from a normal; 0 leaves them as built"
    )
    norm: Literal["default", "one"] = Field(
        "default", description="norm layers: as built, or weight 1 and bias 0 whatever the model chose"
    )
    residual: Residual = Field(
        "default",
        description="last layer or norm of each residual branch: as any other, 0 (arXiv:1706.02677), or divided by the "
        "root of the number of branches (GPT-2)",
    )
    head_scale: float = Field(1.0, ge=0, description="factor of the output head's weights; 0 starts with equal scores")

    @model_validator(mode="after")
    def _a_value_is_used(self) -> Initializer:
        if self.bias_value and self.bias != "constant":
            raise ValueError(f"bias_value: {self.bias_value} has no effect unless bias is 'constant'")
        return self

    def fill(self, weight: Tensor, generator: Generator) -> None:
        """Overwrite one weight, (out, in) or (out, in / groups, *kernel), in place, drawing from `generator` only."""
        raise NotImplementedError

    def fill_groups(self, weight: Tensor, groups: int, generator: Generator) -> None:
        """The same for entries that must know the groups of a convolution."""
        del groups
        self.fill(weight, generator)

    def apply(self, net: nn.Module, seed: int) -> None:
        """Give `net` its first weights, in place.

        Raises UserError where it would do nothing: no layer of its `kinds`, `residual` without a residual branch,
        `head_scale` without an output head of its own.
        """
        parameters = dict(net.named_parameters())
        layers = layers_of(net)
        with torch.no_grad():
            for layer in self.filled(layers):
                self._fill_layer(layer, parameters, seed)
            for layer in layers:
                self._rule(layer, parameters, seed)
            if self.residual != "default":
                self.end_branches(self._branches(net), parameters)
            if self.head_scale != 1:
                self._scale_head(net, parameters)

    def filled(self, layers: tuple[Layer, ...]) -> list[Layer]:
        """The layers whose weights are drawn. Raises UserError when there are none though there should be."""
        found = [layer for layer in layers if layer.kind in self.kinds and layer.weights]
        if self.kinds and not found:
            raise UserError(f"initializer: {self.name} fills {_listed(self.kinds)} layers, and the model has none")
        return found

    def end_branches(self, branches: tuple[Branch, ...], parameters: Mapping[str, Tensor]) -> None:
        """What `residual` says for the ends of residual branches."""
        factor = 0.0 if self.residual == "zero" else len(branches) ** -0.5
        for branch in branches:
            for name in _multiplying(branch.end):
                parameters[name].mul_(factor)
            if self.residual == "zero":
                for name in branch.end.biases:
                    parameters[name].zero_()

    def _fill_layer(self, layer: Layer, parameters: Mapping[str, Tensor], seed: int) -> None:
        for weight in layer.weights:
            self._draw(weight, parameters, seed)

    def _draw(self, weight: Weight, parameters: Mapping[str, Tensor], seed: int) -> None:
        own = parameters[weight.parameter]
        fresh = torch.empty(weight.shape, dtype=torch.promote_types(own.dtype, torch.float32), device="cpu")
        self.fill_groups(fresh, weight.groups, generator_for(seed, weight.name))
        weight.store(parameters, fresh)

    def _rule(self, layer: Layer, parameters: Mapping[str, Tensor], seed: int) -> None:
        """Biases, embeddings and norms."""
        if layer.kind in FILLED and self.bias != "default":
            for name in layer.biases:
                parameters[name].fill_(self.bias_value)
        if layer.kind == "embedding" and self.embedding_std and layer.scale:
            own = parameters[layer.scale]
            fresh = torch.empty(own.shape, device="cpu").normal_(
                0.0, self.embedding_std, generator=generator_for(seed, layer.scale)
            )
            padding = getattr(layer.module, "padding_idx", None)
            if padding is not None:
                fresh[padding] = 0
            own.copy_(fresh)
        if layer.kind == "norm" and self.norm == "one":
            for name in _multiplying(layer):
                parameters[name].fill_(1.0)
            for name in layer.biases:
                parameters[name].zero_()

    def _branches(self, net: nn.Module) -> tuple[Branch, ...]:
        from hpo.training.residual import branches_of

        branches = branches_of(net)
        if not branches:
            raise UserError(
                f"initializer.residual: {self.residual} has no effect, the model has no residual branch "
                "that can be found; its class may name their last layers in residual_layers"
            )
        return branches

    def _scale_head(self, net: nn.Module, parameters: Mapping[str, Tensor]) -> None:
        from hpo.training.residual import head_of

        head = head_of(net)
        if head is None or head.weights[0].parameter not in parameters:
            found = f"{head.name} shares its weight with another layer" if head else "the model has no layer"
            raise UserError(f"initializer.head_scale: {self.head_scale} cannot be used, {found}")
        for name in _multiplying(head):
            parameters[name].mul_(self.head_scale)


class ForActivation(Initializer):
    """Base of entries whose variance fits the activation behind a layer (He et al. 2015, arXiv:1502.01852)."""

    mode: Literal["fan_in", "fan_out"] = Field("fan_in", description="keep the scale forward (fan_in) or backward")
    nonlinearity: Literal["leaky_relu", "relu", "selu", "tanh", "sigmoid", "linear"] = Field(
        "leaky_relu", description="activation that the gain is for; leaky_relu with slope 0 is relu"
    )
    negative_slope: float = Field(0.0, ge=0, description="slope a of leaky_relu: gain² = 2 / (1 + a²)")

    @model_validator(mode="after")
    def _a_slope_is_used(self) -> ForActivation:
        if self.negative_slope and self.nonlinearity != "leaky_relu":
            raise ValueError(f"negative_slope: {self.negative_slope} has no effect with {self.nonlinearity!r}")
        return self


def generator_for(seed: int, name: str) -> Generator:
    """The generator of one weight, on the CPU."""
    from hpo.training.randomness import derive

    return torch.Generator().manual_seed(derive(seed, "initializer", name))


def _multiplying(layer: Layer) -> list[str]:
    """Names of the parameters that a layer's output is proportional to."""
    if layer.scale is not None:
        return [layer.scale]
    return list(dict.fromkeys(weight.parameter for weight in layer.weights))


def _listed(kinds: frozenset[Kind]) -> str:
    return " and ".join(sorted(kinds)).replace("conv", "convolution")


initializers: Registry[Initializer] = Registry("initializer", "hpo.training.initializers")
