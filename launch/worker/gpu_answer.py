"""`python -m launch.worker.gpu_answer GPU`: what kernels are compiled for there, as JSON, asked of NVML."""

import json
import sys

from launch.worker.gpu_devices import compiler_target


def main() -> int:
    """Prints it; a traceback where NVML does not say."""
    import pynvml

    pynvml.nvmlInit()
    print(json.dumps(compiler_target(pynvml, sys.argv[1])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
