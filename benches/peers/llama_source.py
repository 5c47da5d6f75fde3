"""llama.cpp's source, as llama-cpp-python carries it (PyPI), and programs built of it; for the scripts beside this one.

Everything that downloading and building need is in a venv of its own, `tools`, so that a fresh machine has only to have
Python 3.11, a C++ compiler and a way to PyPI. pip asks a source for its metadata before it hands it over, which takes the
source's own build system: without build isolation, that of `tools`; with it, pip would build all of that from source too.
"""
import os
import subprocess
import sys
import tarfile

VERSION = "0.3.36"
TOOLS = ["cmake", "ninja", "scikit-build-core[pyproject]"]


def run(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **kwargs)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def tools(work):
    """The venv's folder of programs."""
    folder = work / "tools"
    if not (folder / "ready").exists():
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin/python", "-m", "pip", "install", "--quiet", *TOOLS)
        (folder / "ready").touch()
    return folder / "bin"


def source(work):
    """The folder of llama.cpp's source."""
    folder = work / f"llama_cpp_python-{VERSION}/vendor/llama.cpp"
    if not folder.exists():
        programs = tools(work)
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        run(programs / "python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python",
            "--no-build-isolation", f"llama-cpp-python=={VERSION}", cwd=work, env=environment)
        with tarfile.open(work / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
            archive.extractall(work, filter="data")
    return folder


def build(work, folder, options, *programs):
    """The folder of `programs`, built in `folder` of the source where the first is not there yet."""
    binaries = work / f"llama_cpp_python-{VERSION}/vendor/llama.cpp" / folder / "bin"
    if not (binaries / programs[-1]).exists():
        environment = {**os.environ, "PATH": f"{tools(work)}:{os.environ['PATH']}"}
        run("cmake", "-B", folder, "-G", "Ninja", *options, cwd=source(work), env=environment)
        run("ninja", "-C", folder, *programs, cwd=source(work), env=environment)
    return binaries
