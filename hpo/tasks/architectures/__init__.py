"""Built-in architectures, one file each, registered with `@models(...)`.

An entry builds a plain `nn.Module`; it trains nothing and knows no task.
"""
