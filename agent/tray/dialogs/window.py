"""A question on screen: for a code, or for a choice. ★ tkinter

Tk keeps copies of what is typed that we cannot reach (its own strings, the input method's). So the
window lives in a process of its own that ends with the answer, leaves no core dump, and the code goes
out as the bytes of one bytearray, wiped by whoever sends it.
"""

import sys
import tkinter as tk
from tkinter import font, ttk

from agent.tray.dialogs.words import Page

_INK, _QUIET, _BLUE, _ALARM, _PAPER = "#1c2733", "#5a6675", "#1f4e8c", "#9a2b00", "#ffffff"
_WIDTH, _TEXT_WIDTH = "390p", "295p"
_LIST_WIDTH, _LIST_HEIGHT = "365p", "270p"
_IN_SIGHT = 8  # choices; a card has up to 16 activities
_ARMED_AFTER_MS = 500  # a click or a Return meant for the window below answers nothing


class Window:
    """One question on screen. Raises tkinter.TclError without a display."""

    def __init__(self, page: Page, *, expires_s: float) -> None:
        self._page = page
        self._answer, self._payload = page.refused, bytearray()
        self._armed = False
        self._root = _root()
        self._agreed = tk.BooleanVar(self._root, value=not page.consent)
        self._chosen = tk.StringVar(self._root)
        self._window = tk.Toplevel(self._root, class_="Insi-agent")
        self._window.withdraw()
        self._window.title(page.title)
        self._window.resizable(False, False)
        if self._window.tk.call("tk", "windowingsystem") == "x11":
            self._window.attributes("-type", "dialog")  # tiling window managers then let it float
        self._window.protocol("WM_DELETE_WINDOW", self._refuse)
        self._window.bind("<Escape>", lambda _: self._refuse())
        self._window.bind("<Map>", self._on_screen)
        self._picture = _card_picture(self._root)
        self._window.iconphoto(False, self._picture)
        self._fill()
        self._root.after(round(expires_s * 1000), self._end, "expired")

    def ask(self) -> tuple[str, bytearray]:
        """Show it until it is answered: the answer's name, and the code or the choice when there is one."""
        self._place()
        self._window.deiconify()
        self._window.attributes("-topmost", True)
        self._window.lift()
        self._refresh()
        self._first.focus_force()
        self._root.mainloop()
        self._root.destroy()
        return self._answer, self._payload

    # ------------------------------------------------------------ layout

    def _fill(self) -> None:
        page = self._page
        body = ttk.Frame(self._window, padding="18p")
        body.pack(fill="both", expand=True)
        ttk.Frame(body, width=_WIDTH).pack()
        head = ttk.Frame(body)
        head.pack(fill="x")
        ttk.Label(head, image=self._picture).pack(side="left", padx=("0p", "10p"))
        ttk.Label(head, text=page.heading, style="Heading.TLabel").pack(anchor="w")
        if page.holder:
            ttk.Label(head, text=page.holder, wraplength=_TEXT_WIDTH).pack(anchor="w")
        ttk.Separator(body).pack(fill="x", pady=("12p", "12p" if page.facts else 0))
        facts = ttk.Frame(body)
        facts.pack(fill="x")
        for row, (label, text) in enumerate(page.facts):
            ttk.Label(facts, text=label, style="Quiet.TLabel").grid(row=row, column=0, sticky="nw", pady="2p")
            style = "Strong.TLabel" if row == 0 else "TLabel"
            value = ttk.Label(facts, text=text, style=style, wraplength=_TEXT_WIDTH)
            value.grid(row=row, column=1, sticky="nw", padx=("12p", 0), pady="2p")
        if page.notice:
            ttk.Label(body, text=page.notice, style="Alarm.TLabel", wraplength=_WIDTH).pack(anchor="w", pady=("12p", 0))
        if page.consent:
            self._consent = ttk.Checkbutton(body, text=page.consent, variable=self._agreed, command=self._consented)
            self._consent.pack(anchor="w", pady=("6p", 0))
        if page.prompt:
            ttk.Label(body, text=page.prompt, wraplength=_WIDTH).pack(anchor="w", pady=("12p", "4p"))
        choices = self._fill_choices(body) if page.choices or page.others else []
        self._hint = ttk.Label(body, style="Alarm.TLabel", wraplength=_WIDTH)
        if page.typed_here:
            self._entry = ttk.Entry(
                body,
                show="●",
                width=page.max_digits + 4,
                justify="center",
                font="PinCode",
                exportselection=False,
                validate="key",
                validatecommand=(self._window.register(self._typed), "%d", "%S"),
            )
            self._entry.pack(anchor="w")
            self._hint.pack(anchor="w", pady=("4p", 0))
        if page.footnote:
            ttk.Label(body, text=page.footnote, style="Quiet.TLabel", wraplength=_WIDTH).pack(
                anchor="w", pady=("8p", 0)
            )
        self._fill_buttons(body, choices)

    def _fill_buttons(self, body: ttk.Frame, choices: list[ttk.Radiobutton]) -> None:
        page = self._page
        buttons = ttk.Frame(body)
        buttons.pack(fill="x", pady=("14p", 0))
        refuse = ttk.Button(buttons, text=page.refuse, command=self._refuse)
        if page.accept:
            self._button = ttk.Button(buttons, text=page.accept, command=self._accept)
            if page.accepts:
                self._button.configure(width=max(map(len, page.accepts)))
            self._button.pack(side="right", padx=("8p", 0))
        refuse.pack(side="right")
        for key in ("<Return>", "<KP_Enter>"):
            refuse.bind(key, self._refuse_by_key)
            if page.accept:  # on a shielded page, whose reader did not ask for it, only where the keyboard is
                (self._button if page.shielded else self._window).bind(key, lambda _: self._accept())
        self._idle: list[ttk.Widget] = [*choices, refuse] if page.shielded else []  # until it is armed
        # Never the button that accepts. With a pin-pad the window itself: Return must not cancel.
        self._first: tk.Misc = self._window if page.accept else refuse
        if choices:
            self._first = choices[0]  # has the keyboard, is not chosen
        if page.typed_here:
            self._first = self._entry
        if page.consent:
            self._first = self._consent
        if page.shielded:
            self._first = self._window  # a space or a Return of someone who is typing elsewhere finds nothing

    def _fill_choices(self, body: ttk.Frame) -> list[ttk.Radiobutton]:
        """The choices, some in sight; the others follow the keyboard and the bar."""
        place = ttk.Frame(body)
        place.pack(fill="x")
        sheet = tk.Canvas(place, background=_PAPER, highlightthickness=0)
        sheet.pack(side="left")
        rows = ttk.Frame(sheet)
        sheet.create_window(0, 0, window=rows, anchor="nw")
        face = "Wrapped.TRadiobutton" if self._page.accepts else "TRadiobutton"  # an origin may be long
        choices = [
            ttk.Radiobutton(rows, text=text, value=choice, variable=self._chosen, command=self._refresh, style=face)
            for choice, text in self._page.choices
        ]
        others = [ttk.Label(rows, text=text, wraplength=_LIST_WIDTH) for text in self._page.others]
        lines: list[ttk.Widget] = [*choices, *others]
        for line in lines:
            line.pack(anchor="w", pady="2p" if self._page.others else "1p")
        if others:
            others[0].pack(pady=("10p", "2p"))
        rows.update_idletasks()
        width, height = rows.winfo_reqwidth(), rows.winfo_reqheight()
        in_sight = min(height, round(self._root.winfo_fpixels(_LIST_HEIGHT)))
        if len(lines) > _IN_SIGHT:
            in_sight = min(in_sight, lines[_IN_SIGHT].winfo_y())
        sheet.configure(width=width, height=in_sight, scrollregion=(0, 0, width, height))
        if height > in_sight:
            bar = ttk.Scrollbar(place, command=sheet.yview)
            bar.pack(side="right", fill="y")
            sheet.configure(yscrollcommand=bar.set)

            def show(event: "tk.Event[tk.Misc]") -> None:
                """The one that has the keyboard, in the middle."""
                sheet.yview_moveto(max(0, (event.widget.winfo_y() - in_sight / 2) / height))

            for choice in choices:
                choice.bind("<FocusIn>", show)
            self._window.bind("<Button-4>", lambda _: sheet.yview_scroll(-1, "units"))  # X11's wheel
            self._window.bind("<Button-5>", lambda _: sheet.yview_scroll(1, "units"))
            self._window.bind("<MouseWheel>", lambda turn: sheet.yview_scroll(-1 if turn.delta > 0 else 1, "units"))
        return choices

    def _place(self) -> None:
        """Centred on the screen where the pointer is. Tk sees several screens as one wide screen."""
        self._window.update_idletasks()
        width, height = self._window.winfo_reqwidth(), self._window.winfo_reqheight()
        all_width, all_height = self._window.winfo_screenwidth(), self._window.winfo_screenheight()
        screens = max(1, round(all_width / (all_height * 1.7)))  # [guess: equal screens side by side]
        one = all_width // screens
        left = one * min(screens - 1, max(0, self._window.winfo_pointerx() // one))
        self._window.geometry(f"+{left + (one - width) // 2}+{max(0, (all_height - height) * 2 // 5)}")

    # ------------------------------------------------------------ what the person does

    def _on_screen(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is not self._window:
            return  # Tk says it of the parts too, and before the window is there to be seen
        self._window.unbind("<Map>")
        self._root.after(_ARMED_AFTER_MS, self._arm)

    def _arm(self) -> None:
        self._armed = True
        self._refresh()

    def _consented(self) -> None:
        self._refresh()
        if self._agreed.get() and self._page.typed_here:
            self._entry.focus_set()

    def _typed(self, action: str, text: str) -> bool:
        """Tk's question before each change of the entry: digits only, and not too many."""
        self._root.after_idle(self._refresh)
        if action != "1":
            return True
        digits = text.isascii() and text.isdigit()
        self._hint["text"] = "" if digits else self._page.only_digits
        return digits and self._entry.index("end") + len(text) <= self._page.max_digits

    def _refresh(self) -> None:
        if self._page.typed_here:
            self._entry.state(["!disabled" if self._agreed.get() else "disabled"])
        for widget in self._idle:
            widget.state(["!disabled" if self._armed else "disabled"])
        if self._page.accept:
            self._button.state(["!disabled" if self._may_accept() else "disabled"])
        if self._page.accepts and self._chosen.get():
            ids = [choice for choice, _ in self._page.choices]
            self._button["text"] = self._page.accepts[ids.index(self._chosen.get())]

    def _may_accept(self) -> bool:
        complete = not self._page.typed_here or self._entry.index("end") >= self._page.min_digits
        complete = complete and bool(self._chosen.get() or not self._page.choices)
        return self._armed and complete and self._agreed.get() and bool(self._page.accept)

    def _accept(self) -> None:
        if not self._may_accept():
            return
        if self._page.typed_here:
            self._payload = bytearray(self._entry.get(), "ascii")
            self._entry.configure(validate="none")
            self._entry.delete(0, "end")
        elif self._page.choices:
            self._payload = bytearray(self._chosen.get(), "utf-8")
        self._end(self._page.accepted)

    def _refuse(self) -> None:
        if self._armed or not self._page.shielded:
            self._end(self._page.refused)

    def _refuse_by_key(self, _event: object) -> str:
        self._refuse()
        return "break"  # Return on "Annuler" must not reach the window, where it means "Valider"

    def _end(self, answer: str) -> None:
        self._answer = answer
        self._window.withdraw()
        self._root.quit()


def _root() -> tk.Tk:
    """The hidden root of the window, with our fonts and styles."""
    if sys.platform == "win32":  # sharp letters on dense screens; written from the documents, untested here
        import ctypes

        ctypes.windll.shcore.SetProcessDpiAwareness(1)
    root = tk.Tk(className="Xft")  # this class makes the desktop's own Xft.dpi readable, which Tk 8.6 ignores
    root.withdraw()
    if dpi := root.tk.call("option", "get", ".", "dpi", "Dpi"):
        root.tk.call("tk", "scaling", float(dpi) / 72)
    x11 = root.tk.call("tk", "windowingsystem") == "x11"
    text = font.nametofont("TkDefaultFont", root)
    text.configure(size=11 if x11 else max(10, text.actual("size")))
    family, size = text.actual("family"), text.actual("size")
    styles = ttk.Style(root)
    if x11:
        styles.theme_use("clam")
        styles.configure(".", background=_PAPER, foreground=_INK)
        for box in ("TCheckbutton", "TRadiobutton"):
            styles.configure(box, indicatorsize="11p")
            styles.map(box, background=[("active", "!disabled", "#eef1f5"), ("disabled", _PAPER)])
        styles.configure("TButton", background="#eef1f5", padding="10p 5p", bordercolor="#b9c2cd")
    for name, colour, face in (
        ("Quiet", _QUIET, (family, size)),
        ("Strong", _INK, (family, size, "bold")),
        ("Alarm", _ALARM, (family, size, "bold")),
        ("Heading", _BLUE, (family, size + 5, "bold")),
    ):
        styles.configure(f"{name}.TLabel", foreground=colour, font=face)
    styles.configure("Wrapped.TRadiobutton", wraplength=_LIST_WIDTH)
    root.tk.call("font", "create", "PinCode", "-family", family, "-size", size + 5)
    return root


def _card_picture(root: tk.Tk) -> tk.PhotoImage:
    """A blue card with its chip, 32 by 24."""
    picture = tk.PhotoImage(master=root, width=32, height=24)
    picture.put(_BLUE, to=(0, 1, 32, 23))
    picture.put(_BLUE, to=(1, 0, 31, 24))
    picture.put("#e9c46a", to=(4, 8, 12, 15))
    picture.put(_PAPER, to=(16, 9, 28, 11))
    picture.put(_PAPER, to=(16, 13, 24, 15))
    return picture
