"""Scans a running `cargo up` from outside: schemathesis for answers, sqlmap for injections.

    cargo up -- --fresh                      # in another terminal
    python3 tests/scan/scan.py               # --help for the rest

Both tools come from PyPI into a git-ignored folder. Deliberately no part of `cargo test`: it changes whatever it
finds, tenants' keys and tiers included, and takes minutes. Invariant: it ends with 1 where a scanner found something.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ["schemathesis==4.32.5", "sqlmap==1.10.10"]

# Left out on purpose. A cluster that is full or emptied leaves nothing to scan; the stream ends with its roll-out;
# statements of operators are SQL, as they should be; doctor and bulk files take longer than a scanner waits.
LEFT_OUT = re.compile(r"^/v1/(clusters/\{name\}|query$|doctor$|imports/\{name\}$|tenants/bulk$|rollouts/\{id\}/events$)")
# What is asked of every answer. Not asked: that whatever fits the schema is taken (a stale `If-Match` or a taken
# slug fits as well), and which 4xx says that a header is missing (428 is not among those that are expected).
CHECKS = ",".join([
    "not_a_server_error", "content_type_conformance", "response_schema_conformance", "response_headers_conformance",
    "negative_data_rejection", "unsupported_method", "use_after_free", "ignored_auth",
])
TENANTS = re.compile(r"^/v1/(entries|me|users)")
# Tries are limited by address, so that a scanner is slow here: these come last.
DOORS = re.compile(r"^/v1/(auth/(login|refresh)|signup)$")


def call(base, path, body=None, method=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(base + path, data, {"content-type": "application/json"} | headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def document(base, wanted):
    """The OpenAPI document with some of its paths, as a file."""
    whole = call(base, "/openapi.json")
    whole["paths"] = {path: item for path, item in whole["paths"].items() if wanted(path)}
    return whole


def tools(folder):
    if not (folder / "bin" / "pip").exists():
        venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *TOOLS], check=True)


def schemathesis(folder, base, file, headers, options):
    command = [folder / "bin" / "schemathesis", "run", file, "--url", base, "--checks", CHECKS]
    command += ["--continue-on-failure", "--seed", str(options.seed), "--max-time", str(options.seconds)]
    command += ["--request-timeout", "60", "--max-response-time", "60", "--warnings", "off"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    # It keeps what it learned in the folder that it runs in.
    return subprocess.run(command, cwd=folder).returncode == 0


def sqlmap(folder, base, file, headers):
    """Whether nothing can be injected into any parameter of these operations."""
    lines = "\\n".join(f"{name}: {value}" for name, value in headers.items())
    command = [folder / "bin" / "sqlmap", f"--openapi={file}", f"--openapi-base={base}", f"--headers={lines}"]
    command += ["--batch", "--flush-session", "--disable-coloring", "--dbms=postgresql", "--technique=BEUS"]
    # A refusal is no reason to look no further.
    command += ["--ignore-code=400,401,403,404,409,410,412,422,428", f"--output-dir={file.parent / 'sqlmap'}"]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    file.with_suffix(".sqlmap.log").write_text(said)
    tried = re.findall(r"parameter '(.+?)' does not seem to be injectable", said)
    found = re.findall(r".*(?:is vulnerable|identified the following injection).*", said)
    print(f"sqlmap, {file.name}: {len(tried)} parameters cannot be injected into", *found, sep="\n", flush=True)
    return bool(tried) and not found


def main():
    about = __doc__.splitlines()[0]
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--base", default="http://127.0.0.1:8080", help="where `cargo up` serves")
    options.add_argument("--data", type=pathlib.Path, default=ROOT / ".data", help="its data folder")
    options.add_argument("--seconds", type=int, default=180, help="of schemathesis, for each of three runs")
    options.add_argument("--seed", type=int, default=1, help="of schemathesis")
    options = options.parse_args()

    folder = ROOT / "target" / "scan"
    tools(folder)
    known = json.loads((options.data / "local" / "credentials.json").read_text())
    operator = {"Authorization": f"Bearer {known['operator_key']}"}
    unlimited = {"limits": {"users": None, "connections": None, "requests_per_second": None}}
    call(options.base, "/v1/tiers/standard", unlimited, "PATCH", **operator)
    owner = {"email": "owner@acme.example", "password": known["demo_password"]}
    token = call(options.base, "/v1/auth/login", owner, X_Tenant_Id="t_acme")["access_token"]
    person = {"X-Tenant-Id": "t_acme", "Authorization": f"Bearer {token}"}

    clean = True
    for name, headers, wanted in [
        ("tenants", person, lambda path: TENANTS.match(path)),
        ("operators", operator, lambda path: not any(some.match(path) for some in (TENANTS, DOORS, LEFT_OUT))),
        ("doors", {"X-Tenant-Id": "t_acme"}, lambda path: DOORS.match(path)),
    ]:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(document(options.base, wanted)))
        clean &= schemathesis(folder, options.base, file, headers, options)
        clean &= sqlmap(folder, options.base, file, headers)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
