"""Reads a file of the Yocto layer as BitBake does and prints what it sets, as JSON.

Usage: recipe.py LAYER FILE [NAME=VALUE...]

BitBake's own parser and data: syntax, operators, includes and expressions are its. Classes are in
other layers: `inherit` is left out, and NAME=VALUE stands in for what bitbake.conf would set.
"""

import json
import pathlib
import sys
import types

# PyPI's bitbake-setup leaves this out; only a build with a server of sums uses it.
for name in ("hashserv", "hashserv.client"):
    sys.modules[name] = types.ModuleType(name)

import bb.data
import bb.parse
import bb.utils
from bb.parse import ast
from bb.parse.parse_py import BBHandler, ConfHandler


def main(layer, path, settings):
    d = bb.data.init()
    d.setVar("BBPATH", layer)
    d.setVar("LAYERDIR", layer)
    d.setVar("FILE", path)
    d.setVar("THISDIR", str(pathlib.Path(path).parent))
    for setting in settings:
        name, _, value = setting.partition("=")
        d.setVar(name, value)

    if path.endswith(".conf"):
        ConfHandler.handle(path, d, True)
    else:
        statements = BBHandler.get_statements(path, path, pathlib.Path(path).stem)
        for statement in statements:
            if not isinstance(statement, (ast.InheritNode, ast.InheritDeferredNode)):
                statement.eval(d)

    values, functions = {}, []
    for name in sorted(d.keys()):
        if name in ("BB_ORIGENV", "__depends") or name.startswith("__"):
            continue
        if d.getVarFlag(name, "python", False):
            source = d.getVar(name, False)
            compile("def it(d):\n" + source, name, "exec")
            functions.append(name)
        elif isinstance(d.getVar(name, False), str):
            values[name] = d.getVar(name)
    sums = {
        flag[: -len(".sha256sum")]: value
        for flag, value in (d.getVarFlags("SRC_URI") or {}).items()
        if flag.endswith(".sha256sum")
    }
    print(json.dumps({"values": values, "python": functions, "sums": sums}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
