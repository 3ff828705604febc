"""Training a judge; only `config` loads without PyTorch."""
