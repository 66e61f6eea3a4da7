"""The licensed library in its worker: a small library of ours, compiled here, stands in for the one nobody may ship."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path

import pytest

from agent.config import Settings, Source, load
from agent.desks import real_desk
from agent.doctor import _probe, _vitale
from agent.errors import AgentError, Code
from agent.places import Places
from agent.protocol.messages import Client, HelloParams
from agent.readers.apilec import READER, ApilecVitale, Installed, find_apilec
from agent.workflows import greeting
from tests.parts.killed import killed_agent
from tests.workflows.making import VITALE, Bench

SOURCE = Path(__file__).with_name("fake_apilec.c")
TODAY = date(2026, 3, 1)
ENDS_WITHIN_S = 20  # a bound for the failure only
NEVER_S = 3600.0

# The family DURAND of the simulated INSi. The twins share birth date and insured person's number: LEO has his own
# number on the card, ZOE is told from him by her rank alone.
HELENE, LEO, ZOE = (
    f"<T_AsnBeneficiaire><ident><nomUsuel>USUEL</nomUsuel><nomPatronymique>DURAND</nomPatronymique>"
    f"<prenomUsuel>{name}</prenomUsuel><naissance><date>{born}</date></naissance>"
    f"<rangDeNaissance>{rank}</rangDeNaissance><nirCertifie>{own}</nirCertifie></ident>"
    f"<amo><nir>2841276451089</nir></amo></T_AsnBeneficiaire>"
    for name, born, rank, own in [
        ("HÉLÈNE", "31121984", 1, ""),
        ("LÉO", "01022015", 1, "115027645100157"),
        ("ZOÉ", "01022015", 2, ""),
    ]
)
AGENT = """
import sys
from datetime import date
from pathlib import Path
from agent.readers.apilec import ApilecVitale
library, configuration = map(Path, sys.argv[1:])
vitale = ApilecVitale(library=library, configuration=configuration, wait_s=1, codes={}, today=lambda: date(2026, 3, 1))
vitale.read(None)
print(vitale.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles the library with these definitions."""
    compiler = shutil.which("gcc")
    assert compiler, "gcc is missing: apt-get install gcc libc6-dev"
    folder = tmp_path_factory.mktemp("native")

    def compile_(*definitions: str) -> Path:
        library = folder / f"libapi_lec{''.join(definitions).replace(' ', '_')}.so"
        if not library.exists():
            subprocess.run([compiler, "-shared", "-fPIC", "-Wall", *definitions, "-o", library, SOURCE], check=True)
            library.chmod(0o755)  # whatever the umask is here: others may not write
        return library

    return compile_


class Place:
    """The folder of a configuration, which scripts the library and shows what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.write("api_lec.ini", "Ressource_Vitale=Lecteur 1\n")
        self.card(HELENE, LEO, ZOE)

    def card(self, *people: str) -> None:
        self.write("card.xml", f"<donnees><listeBenef>{''.join(people)}</listeBenef></donnees>")

    def write(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text, encoding="iso-8859-1")

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def hang(self) -> Path:
        """The next reading never ends. Opening this file returns once it has begun."""
        os.mkfifo(self.folder / "hang")
        return self.folder / "hang"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "api_lec")


def source(library: Path, place: Place, codes: Mapping[str, Code] | None = None) -> ApilecVitale:
    return ApilecVitale(library=library, configuration=place.folder, wait_s=3, codes=codes or {}, today=lambda: TODAY)


@pytest.fixture
def vitale(compiled: Callable[..., Path], place: Place) -> Iterator[ApilecVitale]:
    made = source(compiled(), place)
    yield made
    made.close()


def refusal(vitale: ApilecVitale) -> AgentError:
    with pytest.raises(AgentError) as refused:
        vitale.read(None)
    return refused.value


# ---------------------------------------------------------------- readings


def test_every_holder_comes_with_the_rank_that_the_card_gives(vitale: ApilecVitale) -> None:
    reading = vitale.read(None)

    found = [(one.given_names, one.birth_date, one.rank, one.rank_assumed) for one in reading.content.holders]
    assert found == [
        ("HÉLÈNE", "1984-12-31", 1, False),
        ("LÉO", "2015-02-01", 1, False),
        ("ZOÉ", "2015-02-01", 2, False),
    ]
    assert (reading.reader, reading.atr) == (READER, b"")


def test_each_reading_is_a_session_of_its_own_in_one_worker(vitale: ApilecVitale, place: Place) -> None:
    assert vitale.pid is None
    vitale.read(None)
    first = vitale.pid
    vitale.read("un lecteur quelconque")

    assert first is not None
    assert vitale.pid == first
    assert place.calls == ["init 0", "read 3", "finish 0"] * 2


@pytest.mark.parametrize("width", ["short", "int", "long"])
def test_numbers_of_any_width_are_read(compiled: Callable[..., Path], place: Place, width: str) -> None:
    """No public document tells the types: what the library writes has room, and reads the same."""
    vitale = source(compiled(f"-DNUMBER={width}"), place)
    holders = vitale.read(None).content.holders
    place.write("read", "5 -2 -7")
    failed = refusal(vitale)
    vitale.close()

    assert len(holders) == 3
    assert (failed.facts["code"], failed.facts["cardState"], failed.facts["error"]) == ("5", -2, -7)


def test_what_the_library_prints_disturbs_nothing_and_is_kept_nowhere(
    vitale: ApilecVitale, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.write("noise")

    assert len(vitale.read(None).content.holders) == 3
    vitale.close()
    assert capfd.readouterr() == ("", "")


def test_an_answer_larger_than_its_room_is_unreadable(vitale: ApilecVitale, place: Place) -> None:
    place.card(*[HELENE] * 1000)

    assert refusal(vitale).code is Code.APILEC_UNREADABLE


def test_an_answer_that_is_no_xml_is_unreadable(vitale: ApilecVitale, place: Place) -> None:
    place.write("card.xml", "DURAND")

    failed = refusal(vitale)
    assert failed.code is Code.APILEC_UNREADABLE
    assert "DURAND" not in str(failed)


# ---------------------------------------------------------------- the same card again


def test_the_same_card_is_found_again(vitale: ApilecVitale) -> None:
    vitale.read_again(vitale.read(None))


def test_another_card_or_none_has_changed(vitale: ApilecVitale, place: Place) -> None:
    reading = vitale.read(None)
    place.card(HELENE, ZOE, LEO)
    with pytest.raises(AgentError) as other:
        vitale.read_again(reading)
    place.card()
    with pytest.raises(AgentError) as nobody:
        vitale.read_again(reading)

    assert (other.value.code, nobody.value.code) == (Code.VITALE_CHANGED, Code.VITALE_CHANGED)


def test_a_second_reading_that_fails_says_why(vitale: ApilecVitale, place: Place) -> None:
    reading = vitale.read(None)
    place.write("read", "5 0 0")

    with pytest.raises(AgentError) as failed:
        vitale.read_again(reading)
    assert failed.value.code is Code.APILEC_FAILED


# ---------------------------------------------------------------- return codes


def test_a_return_code_of_no_table_is_kept_and_the_session_is_ended(vitale: ApilecVitale, place: Place) -> None:
    place.write("read", "4097 2 -5")

    failed = refusal(vitale)

    assert failed.code is Code.APILEC_FAILED
    assert failed.facts == {
        "call": "Hn_LectureVitaleDonneesIdentification",
        "code": "4097",
        "cardState": 2,
        "error": -5,
    }
    assert place.calls == ["init 0", "read 3", "finish 0"]


def test_a_return_code_of_the_settings_has_our_name(compiled: Callable[..., Path], place: Place) -> None:
    """As soon as it has, whoever waits for a card waits, and a card that left has changed."""
    vitale = source(compiled(), place, {"4097": Code.VITALE_ABSENT})
    reading = vitale.read(None)
    place.write("read", "4097 2 -5")
    named = refusal(vitale)
    with pytest.raises(AgentError) as again:
        vitale.read_again(reading)
    vitale.close()

    assert (named.code, named.facts["code"]) == (Code.VITALE_ABSENT, "4097")
    assert again.value.code is Code.VITALE_CHANGED


@pytest.mark.parametrize("row", [{"4097": "vitale.inconnu"}, {"Hn": "vitale.absent"}])
def test_a_table_of_codes_that_is_none_is_refused_by_name(row: dict[str, str]) -> None:
    with pytest.raises(AgentError) as refused:
        load([(Source.MACHINE, {"vitale": {"apilec": {"codes": row}}})])

    assert refused.value.code is Code.CONFIG_INVALID
    assert refused.value.facts["setting"].startswith("vitale.apilec.codes.")


def test_the_folder_of_the_settings_is_the_librarys_also_when_it_is_the_wrong_one(
    compiled: Callable[..., Path], place: Place
) -> None:
    place.remove("api_lec.ini")
    vitale = source(compiled(), place)
    failed = refusal(vitale)
    vitale.close()

    assert failed.facts == {"call": "Hn_Init", "code": "12", "error": -3}


# ---------------------------------------------------------------- what may be loaded


def test_nothing_is_known_on_this_system_and_no_process_is_started(place: Place) -> None:
    vitale = ApilecVitale(library=None, configuration=None, wait_s=3, codes={}, today=lambda: TODAY)

    assert refusal(vitale).code is Code.APILEC_MISSING
    assert vitale.pid is None


def test_a_library_or_a_folder_that_is_not_there_is_named(compiled: Callable[..., Path], place: Place) -> None:
    tried = []
    for library, folder in [
        (place.folder / "absent.so", place.folder),
        (compiled(), place.folder / "absent"),
        (compiled(), Path("api_lec")),
    ]:
        with pytest.raises(AgentError) as missing:
            find_apilec(library, folder)
        assert missing.value.code is Code.APILEC_MISSING
        tried += missing.value.facts["tried"]

    assert tried == [str(place.folder / "absent.so"), str(place.folder / "absent"), "api_lec"]


def test_a_library_that_others_could_replace_or_of_another_machine_is_not_loaded(
    compiled: Callable[..., Path], place: Place
) -> None:
    text = compiled().with_name("text.so")
    text.write_text("not a library")
    shared = compiled().with_name("shared.so")
    shutil.copyfile(compiled(), shared)
    shared.chmod(0o777)

    codes = [refusal(source(library, place)).code for library in (text, shared, Path("libapi_lec.so"))]

    assert codes == [Code.MODULE_BITNESS, Code.MODULE_UNSAFE, Code.MODULE_UNSAFE]


def test_another_library_is_not_the_reading_library(compiled: Callable[..., Path], place: Place) -> None:
    broken = compiled().with_name("broken.so")
    broken.write_bytes(compiled().read_bytes()[:64])  # the first header of one, and no more

    for library in (compiled("-DWITHOUT_READING"), broken):
        vitale = source(library, place)
        missing = refusal(vitale)
        vitale.close()
        assert (missing.code, missing.facts["tried"]) == (Code.APILEC_MISSING, [str(library)])


# ---------------------------------------------------------------- crash, hang, end


def test_a_library_that_crashes_is_said_and_the_next_reading_has_another_worker(
    vitale: ApilecVitale, place: Place
) -> None:
    """R17: a native Vitale component that crashes must not take the agent along."""
    place.write("abort")
    crashed = refusal(vitale)
    place.remove("abort")

    assert crashed.code is Code.DEVICE_CRASHED
    assert len(vitale.read(None).content.holders) == 3


def test_a_library_that_hangs_can_be_broken_from_another_thread(vitale: ApilecVitale, place: Place) -> None:
    hanging = place.hang()
    codes: list[Code] = []
    reader = threading.Thread(target=lambda: codes.append(refusal(vitale).code))
    reader.start()
    hanging.read_bytes()  # it has begun

    vitale.kill()
    reader.join()
    place.remove("hang")

    assert codes == [Code.DEVICE_CRASHED]
    assert len(vitale.read(None).content.holders) == 3


def test_the_worker_dies_with_the_agent_even_when_it_hangs(compiled: Callable[..., Path], place: Place) -> None:
    with killed_agent(AGENT, compiled(), place.folder) as (_agent, worker):
        os.kill(worker, signal.SIGSTOP)  # it will not see that its input ended


def test_the_agent_reads_by_the_library_when_the_settings_say_so_and_ends_it_when_it_stops(
    compiled: Callable[..., Path], place: Place, tmp_path: Path
) -> None:
    wanted = {"backend": "apilec", "apilec": {"library": compiled(), "configuration": place.folder, "wait_s": 7}}
    stops: list[Callable[[], None]] = []

    class Agent:
        """What the composition root reads of an agent."""

        settings = Settings.model_validate({"vitale": wanted})
        simulated = False
        places = Places.simulated(tmp_path).create()
        on_stop = staticmethod(stops.append)
        session_changed = show_state = appended = staticmethod(lambda: None)
        person = None

    desk = real_desk(Agent())  # type: ignore[arg-type]  # all that it reads of one
    vitale = desk.vitale
    assert isinstance(vitale, ApilecVitale)
    vitale.read(None)
    assert vitale.pid is not None
    watch = os.pidfd_open(vitale.pid)

    for stop in stops:
        stop()
    desk.lanes.close()
    ended, _, _ = select.select([watch], [], [], 0)
    os.close(watch)

    assert ended
    assert vitale.timeout_s > 7
    assert place.calls[1] == "read 7"


# ---------------------------------------------------------------- the whole way


@pytest.fixture
def bench(tmp_path: Path, simulator_pki: Path, vitale: ApilecVitale) -> Iterator[Bench]:
    """A desk whose carte Vitale is read by the library."""
    made = Bench(tmp_path, simulator_pki)
    made.desk.vitale = vitale
    yield made
    made.close()


def test_twins_need_no_question_and_nothing_is_assumed(bench: Bench) -> None:
    read = bench.do(bench.read())

    leo = bench.do(bench.with_vitale(read.read_id, holder=1))
    zoe = bench.do(bench.with_vitale(read.read_id, holder=2))

    assert [one.rank_assumed for one in read.holders] == [False] * 3
    assert (leo.identity.given_names_list, zoe.identity.given_names_list) == ("LEO PAUL", "ZOE")
    assert leo.integrable and zoe.integrable
    assert "rank.assumed" not in [*leo.warnings, *zoe.warnings, *leo.reasons, *zoe.reasons]
    assert leo.trace.attempts[0].given == ["nir", "birthDate", "rank", "certifiedNir", "birthName"]
    assert zoe.trace.attempts[0].given == ["nir", "birthDate", "rank", "birthName"]


def test_the_rank_of_the_card_counts_before_a_pages(bench: Bench) -> None:
    read = bench.do(bench.read())

    zoe = bench.do(bench.with_vitale(read.read_id, holder=2, rank=1))

    assert zoe.identity.given_names_list == "ZOE"


def test_a_rank_that_the_card_does_not_give_is_asked_for_among_twins(bench: Bench, place: Place) -> None:
    place.card(
        HELENE,
        *(
            twin.replace("<rangDeNaissance>", "<rangInconnu>").replace("</rangDeNaissance>", "</rangInconnu>")
            for twin in (LEO, ZOE)
        ),
    )
    read = bench.do(bench.read())

    refused = bench.refused(bench.with_vitale(read.read_id, holder=2))

    assert (refused.code, refused.facts) == (Code.VITALE_RANK_NEEDED, {"candidates": [1, 2]})
    assert bench.do(bench.with_vitale(read.read_id, holder=2, rank=2)).identity.given_names_list == "ZOE"


def test_what_is_optional_and_not_as_insi_takes_it_is_left_out(bench: Bench, place: Place) -> None:
    place.card(
        HELENE.replace("DURAND", "DURAND 2").replace("<nirCertifie></", "<nirCertifie>28412764</"),
        HELENE.replace("DURAND", "").replace("<nirCertifie></", "<nirCertifie>284127645108993</"),
    )
    bench.configure(vitale={"send_birth_name": True})
    read = bench.do(bench.read())

    given = [bench.do(bench.with_vitale(read.read_id, holder=index)).trace.attempts[0].given for index in (0, 1)]

    assert given == [["nir", "birthDate", "rank"], ["nir", "birthDate", "rank", "certifiedNir"]]  # USUEL: no birth name


def test_a_card_that_changed_since_sends_nothing(bench: Bench, place: Place) -> None:
    read = bench.do(bench.read())
    place.card(HELENE)

    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_CHANGED
    assert bench.insi.received == []


def test_a_birth_date_without_its_century_finds_nobody(bench: Bench, place: Place) -> None:
    place.card(HELENE.replace("<date>31121984</date>", "<dateEnCarte>151231</dateEnCarte>"))
    read = bench.do(bench.read())

    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_NIR_UNUSABLE


def test_a_reading_that_hangs_ends_at_its_deadline_and_the_next_one_works(
    bench: Bench, vitale: ApilecVitale, place: Place
) -> None:
    first = bench.do(bench.read())
    enough_s, vitale.timeout_s = vitale.timeout_s, 0.2
    place.hang()
    hanging = bench.refused(bench.read())
    vitale.timeout_s = enough_s
    place.remove("hang")

    assert hanging.code is Code.CARD_MUTE  # a reading has no effect: it may be repeated
    assert bench.do(bench.with_vitale(first.read_id)).code == "00"


def test_a_reading_that_hangs_ends_at_its_deadline_also_when_who_asked_has_gone(
    bench: Bench, vitale: ApilecVitale, place: Place
) -> None:
    hanging, vitale.timeout_s = place.hang(), 5

    async def story() -> int:
        reading = asyncio.create_task(bench.read())
        await asyncio.to_thread(hanging.read_bytes)  # it has begun
        reading.cancel()
        await asyncio.wait((reading,))
        place.remove("hang")
        return len((await bench.read()).holders)

    bench.desk.card_queue_s = NEVER_S
    assert bench.do(story()) == 3


def test_while_the_library_waits_the_other_readers_are_served(bench: Bench, vitale: ApilecVitale, place: Place) -> None:
    """The end of a CPx session resets the card by PC/SC, however long the library waits for its own."""
    hanging = place.hang()

    async def story() -> list[str]:
        reading = asyncio.create_task(bench.read())
        await asyncio.to_thread(hanging.read_bytes)  # it has begun
        served = await bench.desk.lanes.pcsc.run(bench.readers.seen, timeout_s=NEVER_S, wait_s=ENDS_WITHIN_S)
        vitale.kill()
        await asyncio.wait((reading,))
        place.remove("hang")
        return [one.reader for one in served]

    assert VITALE in bench.do(story())


def test_the_worker_outlives_a_pcsc_call_that_hung(bench: Bench, vitale: ApilecVitale) -> None:
    """The kernel kills a child with the thread that started it: that of the PC/SC lane may be left behind."""
    bench.do(bench.read())
    worker, hung = vitale.pid, threading.Event()

    async def story() -> None:
        pcsc = bench.desk.lanes.pcsc
        first = pcsc._thread
        with pytest.raises(AgentError):
            await pcsc.run(hung.wait, timeout_s=0.1)
        await pcsc.run(lambda: None, timeout_s=NEVER_S)  # by another thread
        hung.set()
        await asyncio.to_thread(first.join)

    bench.do(story())
    bench.do(bench.read())
    assert worker is not None
    assert vitale.pid == worker


def test_the_rank_is_announced_where_the_library_reads_and_nowhere_else(
    bench: Bench, tmp_path: Path, simulator_pki: Path
) -> None:
    hello = HelloParams(api_levels=[1], client=Client(name="essai", version="1"))
    (tmp_path / "plain").mkdir()
    plain = Bench(tmp_path / "plain", simulator_pki)
    told = [one.do(greeting.hello(one.desk, one.asker(), hello)).capabilities for one in (bench, plain)]
    plain.close()

    assert ["vitale.rank" in capabilities for capabilities in told] == [True, False]


# ---------------------------------------------------------------- the doctor


def test_the_doctor_says_how_the_carte_vitale_is_read(compiled: Callable[..., Path], place: Place) -> None:
    def found(**vitale: object) -> tuple[bool, str]:
        finding = _probe("Vitale", _vitale, Settings.model_validate({"vitale": vitale}))
        return finding.well, finding.says

    library, configuration = str(compiled()), str(place.folder)
    reading = found(backend="apilec", apilec={"library": library, "configuration": configuration})
    assert find_apilec(compiled(), place.folder) == Installed(compiled(), place.folder)
    assert reading == (True, f"api_lec ({library}, {configuration}), non essayée avec la bibliothèque réelle")
    assert found() == (True, "PC/SC, sans rang de naissance")
    assert Code.APILEC_MISSING in found(backend="apilec")[1]
    assert Code.VITALE_ASSERTION_UNAVAILABLE in found(assertion="required")[1]
