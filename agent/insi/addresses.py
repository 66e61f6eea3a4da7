"""The public addresses of INSi, per environment and mode. No I/O of its own.

Source: padoa, SAPA, the GIE kit and Pyxvital (docs/sources.md), second hand. Mind the dot and the hyphen of the
two qualification names. Any of them can be replaced in the configuration.
"""

from agent.model import AuthMode, Environment

ADDRESSES: dict[tuple[Environment, AuthMode], str] = {
    (Environment.PRODUCTION, AuthMode.CPX): "https://services-ps.ameli.fr/lps",
    (Environment.PRODUCTION, AuthMode.ORGANISATION): "https://services-ps-tlsm.ameli.fr/lps",
    (Environment.TEST, AuthMode.CPX): "https://qualiflps.services-ps.ameli.fr/lps",
    (Environment.TEST, AuthMode.ORGANISATION): "https://qualiflps-services-ps-tlsm.ameli.fr/lps",
}
