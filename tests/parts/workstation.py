"""The configuration of an agent on real parts: virtual cards, OpenSC, and an INSi on the loopback."""

from pathlib import Path

from agent.insi.fake_insi import SimulatedInsi
from agent.model import AuthMode
from agent.simulator.pki import Person

_CONFIG = """
environment = "test"

[[origins.allowed]]
origin = "{site}"

[[software]]
name = "Dossier d'essai"
version = "3.2"
origins = ["{site}"]
[software.authorisation]
test = "SIMULATEUR-0001"

[cpx]
{cpx_lines}
module = "{module}"
opensc_signs = true  # the virtual CPS3 has relaxed rules
activities = {{ "{doctor}" = "01" }}
[[cpx.billing_ids]]
professional = "{doctor}"
value = "990000017"

[insi]
retries = 0
[insi.endpoints.test]
cpx = "{cpx}"
organisation = "{organisation}"
[insi.anchors.test]
cpx = ["{anchors}"]
organisation = ["{anchors}"]
"""


def write_config(
    file: Path, *, site: str, module: Path, insi: SimulatedInsi, anchors: Path, cpx: str = "", more: str = ""
) -> None:
    """Allow `site`, sign with `module`, call `insi`, trust `anchors`; `cpx`: lines of [cpx], `more`: TOML to add."""
    text = _CONFIG.format(
        site=site,
        module=module,
        cpx_lines=cpx,
        doctor=Person().national_id,
        cpx=insi.url(AuthMode.CPX),
        organisation=insi.url(AuthMode.ORGANISATION),
        anchors=anchors,
    )
    file.write_text(text + more, encoding="utf-8")
