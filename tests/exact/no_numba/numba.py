raise ImportError("stands before numba on the path, to try what is computed without it")
