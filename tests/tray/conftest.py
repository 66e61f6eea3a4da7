"""The desktop of the window and icon tests."""

from tests.parts.desktop import desktop, desktop_with_tray

__all__ = ["desktop", "desktop_with_tray"]
