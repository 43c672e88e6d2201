#!/usr/bin/env python3
"""Everything a reader needs, in one command; the first use makes the environment in .venv.

    python3 run.py book [--no-serve] [--port N] [--open]    build the site, serve it on this machine
    python3 run.py lab  [JupyterLab options]                open the book's first page in JupyterLab
    python3 run.py test [pytest options]                    run all tests and validate all notebooks

Only the standard library is used. The syntax stays readable to Python 3.6, so that an old Python can be
told what is missing instead of failing with a syntax error.
"""

import argparse
import contextlib
import errno
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import webbrowser
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STATE = VENV / "labkit-state"  # "unfinished", or the fingerprint of what was installed; written last
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
IPYTHON = VENV / "ipython"  # kernels of validated notebooks see no start-up script of the user
LAB_SETTINGS = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
SITE = ROOT / "_build" / "html"
UNFINISHED_BUILD = ROOT / "_build" / "unfinished"

SUPPORTED = ((3, 11), (3, 12), (3, 13))
FIRST_PAGE = "book/intro.md"
LAB_DEFAULTS = {  # show pages, not their source, and ask nothing of a network that may not be there
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
GIGABYTE = 10**9
INSTALL_SPACE = 3 * GIGABYTE
WORK_SPACE = GIGABYTE // 5
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
}


class LaunchError(Exception):
    """One sentence that tells the reader what is wrong and what to do."""


# --- the commands ---------------------------------------------------------------------------------------


def book(options):
    """Build the site as strictly as CI does, then serve it."""
    wanted = book_options(options)
    make_environment()
    build_site()
    if wanted.no_serve:
        say(f"The book is in {SITE / 'index.html'}")
    else:
        serve(wanted.port, wanted.open)
    return 0


def lab(options):
    """Open the book's first page in JupyterLab, rendered."""
    make_environment()
    LAB_SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    write_whole(LAB_SETTINGS, json.dumps(LAB_DEFAULTS))
    first_page = f"--LabApp.default_url=/lab/tree/{FIRST_PAGE}"
    command = [PYTHON, "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}", first_page]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # root in a container is normal, and the server listens on localhost only
    return interact([*command, *options], child_settings(IPYTHONDIR=os.environ.get("IPYTHONDIR")))


def test(options):
    """Run pytest: unit tests, doctests and the validation of every notebook."""
    make_environment()
    return interact([PYTHON, "-m", "pytest", *options], child_settings())


COMMANDS = {"book": book, "lab": lab, "test": test}


def book_options(options):
    parser = argparse.ArgumentParser(prog="run.py book", description=book.__doc__)
    parser.add_argument("--no-serve", action="store_true", help="build only")
    parser.add_argument("--port", type=port_number, help="serve on this port (default: 8000 or the next free one)")
    parser.add_argument("--open", action="store_true", help="open a browser on the first page")
    return parser.parse_args(options)


def port_number(text):
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 65535, got {text!r}")
    return int(text)


# --- the environment ------------------------------------------------------------------------------------


def make_environment():
    """Bring .venv up to date: a minute or two at first, an instant when nothing changed."""
    with one_install_at_a_time():
        wanted, found, interpreter = fingerprint(ROOT), installed_state(), interpreter_of(PYTHON)
        if found == wanted and interpreter == this_interpreter():
            require_space(WORK_SPACE)
            return
        update = can_be_updated(found, interpreter)
        if not update:
            start_afresh()
        write_whole(STATE, "unfinished")
        install(quiet=update)
        write_whole(STATE, wanted)


def can_be_updated(found, interpreter):
    """Whether packages may be added to the .venv that is there; if not, it is ours to replace."""
    is_foreign = found is None and VENV.is_dir() and any(VENV.iterdir())
    if is_foreign and interpreter != this_interpreter():
        raise LaunchError(f"{VENV} was not made by run.py and holds another Python: move it away and run this again.")
    return interpreter == this_interpreter() and found != "unfinished"


def start_afresh():
    """Make an empty environment; the old one is renamed first, so a cut-off removal leaves no half of it."""
    require_space(INSTALL_SPACE)
    if not has_module("venv") or not has_module("ensurepip"):
        raise LaunchError("This Python has no venv module: install it (Debian and Ubuntu: apt install python3-venv).")
    say("Making the environment in .venv")
    old = ROOT / ".venv-old"
    shutil.rmtree(old, ignore_errors=True)
    if VENV.exists():
        VENV.rename(old)
    VENV.mkdir()
    write_whole(STATE, "unfinished")
    python = getattr(sys, "_base_executable", None) or sys.executable
    if run([python, "-m", "venv", VENV], child_settings()):
        raise LaunchError("Python could not make a virtual environment: see its message above.")
    shutil.rmtree(old, ignore_errors=True)


def install(quiet):
    """Install the pinned packages, then labkit itself; the second step needs no network."""
    count = sum("==" in line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())
    say(f"Installing what is missing of {count} packages; the first time this takes a few minutes and about 2 GB")
    pip("install", *(["--quiet"] if quiet else []), "-r", ROOT / "requirements.txt")
    say("Building labkit")
    pip("install", "--quiet", "--no-build-isolation", "--no-deps", "--editable", ROOT)
    run([PYTHON, "-c", "from labkit import kernels; print('Kernels:', kernels.backend())"], child_settings())


def pip(*arguments):
    """Run pip with its progress on screen, and turn a failure into one sentence."""
    log = []
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with started(command, child_settings(), stderr=subprocess.PIPE) as child:
        for line in child.stderr:
            log.append(line.decode("utf-8", "replace"))
            if "Retrying" in line.decode("utf-8", "replace") and len(log) == 1:
                say("The package index does not answer yet; trying again")
    if child.returncode:
        raise LaunchError(explain("".join(log)))


def explain(log):
    """The one sentence for what pip wrote when it failed."""
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")] or log.splitlines() or ["nothing"]
    said = f"(pip said: {errors[-1].strip()})"
    if re.search(r"No space left|Errno 28|not enough space", log):
        return f"The disk is full: free {INSTALL_SPACE // GIGABYTE} GB and run this again. {said}"
    if re.search(r"Retrying|Max retries|timed out|ConnectionError|ConnectionReset|IncompleteRead|ProxyError", log):
        return f"The package index cannot be reached: check the network or the proxy and run this again. {said}"
    return f"The packages could not be installed. {said}"


def fingerprint(root):
    """A hash of everything that decides what an install gives; generated C files start with an underscore."""
    sources = sorted(path for kind in ("*.c", "*.h", "*build*.py") for path in root.glob(f"labkit/**/{kind}"))
    files = [root / name for name in ("requirements.txt", "pyproject.toml", "setup.py")]
    files += [path for path in sources if not path.name.startswith("_") or path.suffix == ".py"]
    digest = hashlib.sha256(f"compiler: {bool(shutil.which('cc') or shutil.which('gcc'))}".encode())
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path.exists() else b"missing")
    return digest.hexdigest()


def installed_state():
    """What the last install wrote, or None where run.py never installed."""
    try:
        return STATE.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def interpreter_of(python):
    """Version and home of an environment's Python; None when it does not run."""
    show = "import sys; print(sys.version.split()[0], sys.base_prefix)"
    try:
        done = subprocess.run([str(python), "-I", "-c", show], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def this_interpreter():
    return f"{sys.version.split()[0]} {sys.base_prefix}"


@contextlib.contextmanager
def one_install_at_a_time():
    """Hold a lock that pip inherits: after a killed run.py, the next one waits for the orphan to end."""
    with open(ROOT / ".venv.lock", "w") as lock:
        if fcntl:
            os.set_inheritable(lock.fileno(), True)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another run.py is installing; waiting for it to end")
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- the site -------------------------------------------------------------------------------------------


def build_site():
    """Build with warnings as errors; after a failure or an interruption nothing half-built is reused."""
    say("Building the book")
    hush_kernels()
    if UNFINISHED_BUILD.exists():
        # Sphinx reports a page's warnings only when it reads the page: without this a second run would look clean.
        for leftover in (SITE, SITE.parent / ".doctrees"):
            shutil.rmtree(leftover, ignore_errors=True)
    UNFINISHED_BUILD.parent.mkdir(exist_ok=True)
    write_whole(UNFINISHED_BUILD, "")
    command = [BIN / "jupyter-book", "build", "-W", "--keep-going", ROOT]
    if run(command, child_settings(LABKIT_STATIC="1")):
        raise LaunchError("The book did not build: the lines above with WARNING or ERROR say why.")
    UNFINISHED_BUILD.unlink()


def hush_kernels():
    """Keep each kernel's remark about its local sockets from looking like a warning about a page."""
    settings = IPYTHON / "profile_default" / "ipython_kernel_config.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    write_whole(settings, json.dumps({"IPKernelApp": {"log_level": "ERROR"}}))


class Page(http.server.SimpleHTTPRequestHandler):
    """Files of the site, never from a browser's stale cache, without a log line per request."""

    extensions_map = {  # noqa: RUF012  (Windows may map .js to text/plain, which browsers refuse for modules)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
    }

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *arguments):
        pass


def serve(port, open_browser):
    """Serve the site on this machine only, until Ctrl-C."""
    with listen(port) as server:
        address = f"http://localhost:{server.server_address[1]}/"
        say(f"The book is open at {address}   (Ctrl-C stops it)")
        if open_browser:
            webbrowser.open(address)
        server.serve_forever()


def listen(port):
    """A server on `port`, or on the first free port from 8000 on when none is asked for."""
    handler = functools.partial(Page, directory=str(SITE))
    for candidate in [port] if port else [*range(8000, 8020), 0]:
        try:
            return http.server.ThreadingHTTPServer(("127.0.0.1", candidate), handler)
        except PermissionError:
            raise LaunchError(f"Port {candidate} needs administrator rights: choose one above 1023.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise LaunchError(f"Port {port} is in use: choose another one, or leave --port out.")


# --- child processes ------------------------------------------------------------------------------------


def child_settings(**more):
    """The variables of every child: our packages only, one thread (numbers must not depend on the machine)."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ours.pop("LABKIT_STATIC", None)
    ours.update(ONE_THREAD, VIRTUAL_ENV=str(VENV), PATH=f"{BIN}{os.pathsep}{ours.get('PATH', os.defpath)}")
    # Packages and kernels in the user's home must not shadow ours.
    ours.update(PYTHONNOUSERSITE="1", PYTHONUTF8="1", PIP_USER="0", JUPYTER_PREFER_ENV_PATH="1")
    ours.update({"IPYTHONDIR": str(IPYTHON), **more})
    return {name: value for name, value in ours.items() if value is not None}


@contextlib.contextmanager
def started(command, settings, **options):
    """A child in a group of its own; leaving early, by Ctrl-C too, ends the whole group in silence."""
    options.update(start_new_session=os.name == "posix", close_fds=False)
    with subprocess.Popen([str(part) for part in command], cwd=str(ROOT), env=settings, **options) as child:
        try:
            yield child
        except BaseException:
            end(child)
            raise


def end(child):
    """End a child and its group; notebooks being executed shrug off the first, polite signal."""
    for polite in (True, False):
        with contextlib.suppress(OSError):  # it may have ended by itself
            if os.name == "posix":
                os.killpg(child.pid, signal.SIGTERM if polite else signal.SIGKILL)
            else:
                child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=1)
            return


def run(command, settings):
    """Run a child to its end and return its exit code."""
    with started(command, settings) as child:
        return child.wait()


def interact(command, settings):
    """Run a child that answers Ctrl-C itself: JupyterLab asks, pytest prints its summary."""
    child = subprocess.Popen([str(part) for part in command], cwd=str(ROOT), env=settings)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue
        except SystemExit:
            child.terminate()
            raise


# --- small things ---------------------------------------------------------------------------------------


def say(text):
    print(f"\n{text}", flush=True)


def has_module(name):
    """Whether this Python has a module; Debian ships venv without ensurepip."""
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def write_whole(path, text):
    """Write under another name and rename, so that a cut-off write leaves no half file."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, encoding="utf-8")
    os.replace(str(draft), str(path))


def require_space(needed):
    free = shutil.disk_usage(str(ROOT)).free
    if free < needed:
        raise LaunchError(
            f"The disk is full: {ROOT} has {free / 1e9:.1f} GB free and this needs {needed / 1e9:.1f} GB."
        )


def check_python(version):
    """Refuse a Python that the packages do not support, and name one that is on the machine."""
    if tuple(version[:2]) in SUPPORTED:
        return
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED]
    found = next((name for name in names if shutil.which(name)), None)
    advice = f"run it with {found}." if found else "install one of them first."
    raise LaunchError(f"This needs Python 3.11, 3.12 or 3.13 and was started with {version[0]}.{version[1]}: {advice}")


def main(arguments):
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__.split("\n\nOnly")[0], file=sys.stderr)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    try:
        check_python(sys.version_info)
        return COMMANDS[arguments[0]](arguments[1:])
    except LaunchError as reason:
        print(f"\n{reason}", file=sys.stderr)
    except OSError as error:
        cause = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        print(f"\nrun.py could not go on: {cause} ({error.filename or ROOT}).", file=sys.stderr)
    except KeyboardInterrupt:
        print()
        return 130
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
