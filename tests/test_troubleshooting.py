"""Messages that the page on troubleshooting quotes are messages of the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def templates() -> str:
    """Every string of the package and the scripts, values of f-strings as ``…``."""
    found = []
    for path in [*(ROOT / "mmnet_jax").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values))
    return "\n".join(found)


def test_every_quoted_message_is_in_the_code():
    quoted = re.findall(r"^\*\*`(.+)`\*\*$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    known = templates()
    assert len(quoted) > 20
    assert [message for message in quoted if message not in known] == []
