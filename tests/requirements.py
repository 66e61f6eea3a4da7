"""What the INS rules ask of the agent, S001 to S131, and the tests that hold each row: `python -m tests.requirements`
runs them all and writes docs/requirements.md with what came of it.

The rows are those of the ANS and GIE SESAM-Vitale documents for editors (docs/sources.md) that concern a bridge. A row
has one of three answers, or two of them for its halves: tests; the later work that owes it; a real card, account or
certificate that it needs.
"""

import sys

from tests.held import ROOT, Line, write

DOCUMENT = ROOT / "docs" / "requirements.md"

_CNDA = "the CNDA session (dossier, injected replies, trace window)"
_BATCHES = "the batches (deposit, follow, fetch, schedule)"

REQUIREMENTS: dict[str, Line] = {
    "S001": Line(
        "Two profiles: identity repository and consumer; the setting says which this installation is.",
        (
            "journey/test_switching.py::test_a_consumer_may_not_retrieve_from_the_moment_of_the_switch",
            "test_switching.py::test_what_is_set_above_the_person_is_locked_and_its_source_is_said",
        ),
    ),
    "S003": Line(
        "A consumer's installation refuses retrieval (WS_INS1, WS_INS2) and may verify.",
        (
            "workflows/test_verify.py::test_software_that_may_not_search_may_verify",
            "workflows/test_order.py::test_a_search_is_refused_for_the_reason_that_costs_the_least_to_know",
        ),
    ),
    "S011": Line(
        "The editor's number at CNDA (NIE) is kept beside its software, and shown.",
        ("test_organisation_command.py::test_the_software_is_listed_without_its_authorisation_numbers",),
    ),
    "S012": Line(
        "One authorisation number per environment; none there: refused before any card or code.",
        (
            "workflows/test_order.py::test_the_right_comes_first_and_the_persons_consent_is_no_authorisation",
            "workflows/test_refusals.py::test_what_needs_no_card_is_refused_before_the_card_is_even_looked_at",
        ),
        needs="authorisation number, of CNDA",
    ),
    "S015": Line(
        "The end of the card's and of each organisation certificate is announced 90, 30 and 7 days before.",
        (
            "workflows/test_authentication.py::test_the_end_of_a_certificate_is_told_ninety_days_before",
            "workflows/test_authentication.py::test_each_certificate_has_its_own_warning_which_names_no_structure",
        ),
    ),
    "S017": Line(
        "A card that names nobody is refused, with the reason, before any code is asked.",
        (
            "signing/test_cpx.py::test_a_non_nominative_card_is_refused",
            "workflows/test_refusals.py::test_a_card_that_insi_would_refuse_is_refused_before_its_code",
        ),
        needs="CPE that names nobody: ours are virtual",
    ),
    "S018": Line(
        "Organisation certificates are accepted in place of a card.",
        ("journey/test_structures.py::test_each_site_calls_with_its_own_structures_certificate",),
        needs="ORG AUTH_CLI certificate of ANS",
    ),
    "S019": Line(
        "Any PC/SC reader does; a reader with two slots is two readers.",
        (
            "readers/test_desk.py::test_the_vitale_is_found_whatever_reader_it_is_in",
            "readers/test_pcsc_field.py::test_the_two_slots_of_a_reader_are_two_readers_and_the_other_slots_cps_is_left_alone",
        ),
    ),
    "S020": Line(
        "The exchanges of a CNDA session can be handed over.",
        owed=_CNDA,
    ),
    "S023": Line(
        "The agent can be operated and explained live.",
        ("tray/test_switch_window.py::test_it_says_what_counts_and_offers_the_rest",),
        owed=_CNDA,
    ),
    "S024": Line(
        "Nothing is edited between two tests: environment, profile and injected replies change at run time.",
        (
            "journey/test_switching.py::test_two_clients_are_closed_with_4001_and_find_the_other_environment_on_the_same_port",
            "journey/test_switching.py::test_a_run_of_the_simulator_changes_its_profile_and_not_its_environment",
        ),
        owed=_CNDA,
    ),
    "S025": Line(
        "What an installation can do is told, feature by feature.",
        (
            "workflows/test_verify.py::test_the_simulator_announces_it_to_a_repository_and_to_a_consumer",
            "readers/test_apilec.py::test_the_rank_is_announced_where_the_library_reads_and_nowhere_else",
            "workflows/test_authentication.py::test_hello_offers_the_certificate_to_those_whose_structure_has_one",
        ),
    ),
    "S027": Line(
        "ContexteLPS with the authorisation number is in all five operations; no page chooses it.",
        (
            "workflows/test_attempts.py::test_every_operation_names_the_software_that_the_origin_selects",
            "insi/test_contract.py::test_what_is_sent_fits_the_contracts_schema",
        ),
    ),
    "S033": Line(
        "A support request has its context, environment and traces, with the chosen requests and answers as XML.",
        (
            "test_support.py::test_a_bundle_is_one_private_file_with_a_date_that_says_what_it_holds",
            "test_support.py::test_the_last_operations_are_told_with_their_messages_and_without_their_people",
            "test_support.py::test_whole_messages_are_there_when_they_are_asked_for_and_the_person_is_told_whose_they_are",
        ),
    ),
    "S034": Line(
        "Faults and latency are counted, per operation.",
        (
            "workflows/test_attempts.py::test_every_attempt_is_counted_by_its_code_faults_and_failures_too",
            "test_doctor.py::test_what_an_agent_has_asked_of_insi_is_told_by_the_one_that_runs",
        ),
    ),
    "S035": Line(
        "The software's name and version travel as configured: INSi's public indicators count them.",
        ("workflows/test_attempts.py::test_every_operation_names_the_software_that_the_origin_selects",),
    ),
    "S040": Line(
        "The certificate is the site's own, kept on the workstation.",
        (
            "test_organisation_command.py::test_each_certificate_has_its_own_passphrase_and_the_list_says_whose_it_is",
            "signing/test_structures.py::test_the_softwares_structure_selects_by_the_ou",
        ),
    ),
    "S052": Line(
        "An INS is a matricule, its OID and five traits.",
        (
            "insi/test_editions.py::test_an_identity_of_any_edition_is_read_to_the_letter",
            "insi/test_rules.py::test_the_oid_alone_tells_what_a_number_is",
        ),
    ),
    "S053": Line(
        "The worked example 2 77 01 01 154 003 has the key 29.",
        ("test_nir.py::test_the_key_is_97_minus_the_remainder_with_corsica_replaced",),
    ),
    "S054": Line(
        "The worked example 2 60 05 88 154 002 has the key 33.",
        ("test_nir.py::test_the_key_is_97_minus_the_remainder_with_corsica_replaced",),
    ),
    "S057": Line(
        "The first given name is not returned: only the list is.",
        ("insi/test_editions.py::test_an_identity_of_any_edition_is_read_to_the_letter",),
    ),
    "S062": Line(
        "What INSi returns is kept to the letter.",
        (
            "insi/test_editions.py::test_an_identity_of_any_edition_is_read_to_the_letter",
            "insi/test_editions.py::test_the_same_answer_written_otherwise_is_read_the_same",
        ),
    ),
    "S063": Line(
        "Birth dates are strings, whose month and day may be 00.",
        (
            "insi/test_search.py::test_a_birth_date_without_month_or_day_is_sent_as_it_is_or_refused_by_setting",
            "workflows/test_attempts.py::test_a_birth_date_out_of_the_calendar_travels_unless_the_settings_refuse_it",
        ),
    ),
    "S064": Line(
        "Sex is M or F in a call; a page's own may be I.",
        ("insi/test_rules.py::test_an_undetermined_sex_equals_none_of_insi",),
    ),
    "S065": Line(
        "A birth place is an INSEE code, never refused for being unknown.",
        (
            "insi/test_rules.py::test_a_birth_place_of_another_shape_is_said_and_never_refused",
            "workflows/test_verify.py::test_the_birth_place_travels_as_given_in_the_one_attempt_also_when_it_is_unknown",
        ),
    ),
    "S066": Line(
        "An INS without name, given names or sex is not integrable.",
        ("insi/test_rules.py::test_an_empty_trait_forbids_integration",),
    ),
    "S077": Line(
        "Every access to INSi is traced: who, when, what came.",
        (
            "workflows/test_attempts.py::test_all_that_a_page_says_of_a_call_is_traced_and_what_is_personal_is_sealed",
            "workflows/test_tracing.py::test_without_its_intent_nothing_is_sent",
            "test_journal_command.py::test_a_filter_lets_through_what_it_names_and_all_filters_count",
            "test_journal_command.py::test_a_table_has_a_row_for_each_attempt_under_a_name_made_of_days",
            "journal/test_tampering.py::test_each_tampering_is_3_with_its_kind_and_its_entry",
        ),
    ),
    "S078": Line(
        "Rights per origin and operation.",
        (
            "workflows/test_order.py::test_the_right_comes_first_and_the_persons_consent_is_no_authorisation",
            "protocol/test_handshake.py::test_only_exactly_an_allowed_origin_has_rights",
        ),
    ),
    "S096": Line(
        "The contract is ours, or the editor's own package, read from a folder.",
        (
            "insi/test_contract.py::test_a_package_and_its_bindings_are_all_that_the_five_operations_need",
            "test_contract_command.py::test_what_differs_from_what_the_agent_knows_is_told_and_judged",
        ),
        needs="package of the GIE for WS_INS3 to 5: their contract is not public",
    ),
    "S097": Line(
        "Two authentications: the organisation's certificate in mutual TLS, or a nominative CPx that signs an assertion.",
        ("journey/test_official_people.py::test_each_official_search_gives_its_outcome_attempt_by_attempt",),
        needs="CPx and certificate: INSi itself has answered neither",
    ),
    "S098": Line(
        "One authentication of the software: its context.",
        (
            "workflows/test_attempts.py::test_every_operation_names_the_software_that_the_origin_selects",
            "insi/test_simulated_insi.py::test_every_known_fault_is_read_as_its_family",
        ),
    ),
    "S099": Line(
        "Five operations.",
        (
            "insi/test_contract.py::test_a_package_and_its_bindings_are_all_that_the_five_operations_need",
            "insi/test_simulated_insi.py::test_an_ins_is_verified",
            "insi/test_simulated_insi.py::test_a_batch_goes_and_comes_back",
        ),
        needs="package of the GIE for WS_INS3 to 5",
        owed=_BATCHES,
    ),
    "S100": Line(
        "WS_INS1 is asked by the card's number, birth date and rank.",
        (
            "insi/test_simulated_insi.py::test_a_card_finds_the_person_and_not_the_insured",
            "workflows/test_refusals.py::test_the_card_is_read_again_before_each_attempt_also_before_a_repeat",
        ),
        needs="carte Vitale: real ones give what no virtual card can prove",
    ),
    "S101": Line(
        "WS_INS2 is asked by birth name, one given name, birth date and sex.",
        ("insi/test_search.py::test_each_given_name_is_sent_alone_then_all_joined",),
    ),
    "S102": Line(
        "The birth place never travels in a first call.",
        (
            "workflows/test_attempts.py::test_a_birth_place_is_never_in_a_first_attempt_wherever_the_search_goes",
            "insi/test_search.py::test_the_birth_place_travels_in_the_last_attempt_alone",
        ),
    ),
    "S103": Line(
        "One identity, none, or several.",
        (
            "journey/test_official_people.py::test_each_official_search_gives_its_outcome_attempt_by_attempt",
            "insi/test_editions.py::test_nobody_and_several_are_read_in_any_edition",
        ),
    ),
    "S105": Line(
        "Retrieval for provisional identities can be allowed or forbidden.",
        ("workflows/test_order.py::test_a_search_is_refused_for_the_reason_that_costs_the_least_to_know",),
    ),
    "S107": Line(
        "One call at a time.",
        ("workflows/test_tracing.py::test_the_next_call_waits_for_one_that_was_given_up_and_is_not_refused",),
    ),
    "S108": Line(
        "Every call, its code, and the image of a 00 are kept.",
        (
            "workflows/test_tracing.py::test_unavailability_is_repeated_as_often_as_configured_and_each_attempt_is_traced",
            "workflows/test_tracing.py::test_without_its_outcome_or_its_result_entry_the_page_gets_no_result_but_the_trace",
        ),
    ),
    "S112": Line(
        "identifiantFacturation is asked for before the card's code, and set per user and structure.",
        (
            "workflows/test_refusals.py::test_a_billing_identifier_that_fits_no_activity_known_is_missing_before_the_code",
            "workflows/test_refusals.py::test_a_billing_identifier_may_be_of_one_structure_alone",
            "workflows/test_authentication.py::test_the_assertion_has_the_names_and_the_issuer_of_the_settings",
        ),
    ),
    "S113": Line(
        "The OU of the certificate is read, shown and sent; its absence is told.",
        (
            "workflows/test_authentication.py::test_a_certificate_without_structure_names_no_emitter_and_says_so",
            "test_organisation_command.py::test_each_certificate_has_its_own_passphrase_and_the_list_says_whose_it_is",
        ),
    ),
    "S116": Line(
        "An INS can be verified.",
        ("workflows/test_verify.py::test_an_ins_with_its_traits_is_verified_and_traced",),
        needs="package of the GIE: WS_INS3 is not public",
    ),
    "S118": Line(
        "Every verification and its answer are traced.",
        (
            "workflows/test_verify.py::test_an_ins_with_its_traits_is_verified_and_traced",
            "workflows/test_verify.py::test_an_ins_of_somebody_else_is_not_verified_and_not_to_be_integrated",
        ),
    ),
    "S121": Line(
        "The whole base can be verified again.",
        owed=_BATCHES,
    ),
    "S123": Line(
        "Mass calls, with their frequency and perimeter.",
        owed=_BATCHES,
    ),
    "S124": Line(
        "A waiting number (NIA) is flagged, to be verified again.",
        (
            "insi/test_rules.py::test_a_waiting_number_is_to_be_verified_again",
            "workflows/test_verify.py::test_the_number_of_someone_who_waits_for_one_is_to_be_verified_again",
        ),
    ),
}

_HEAD = """# The INS rules, row by row

Written by `make requirements`, which runs every test named here: {total}. A test of several cases is counted by its
cases. These are the 46 rows that concern the agent itself; the others are the web application's, or the organisation's.
Passing them proves nothing about CNDA: only its own session does, with an editor's own authorisation number.

| row | what is asked | held by | result |
| --- | --- | --- | --- |
"""

if __name__ == "__main__":
    sys.exit(write(DOCUMENT, _HEAD, REQUIREMENTS))
