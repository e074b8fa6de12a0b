"""The rule, many steps at a time and fast: compiled C, GPU kernels, or the dense rule under autograd."""
