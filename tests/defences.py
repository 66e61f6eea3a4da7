"""The defence list D1 to D41, and the tests that hold each line: `python -m tests.defences` runs them all and
writes docs/defences.md with what came of it.
"""

import sys

from tests.held import ROOT, Line, write

DOCUMENT = ROOT / "docs" / "defences.md"

DEFENCES: dict[str, Line] = {
    "D1": Line(
        "Nothing listens beyond 127.0.0.1 and ::1.",
        (
            "protocol/test_handshake.py::test_no_other_address_of_this_machine_answers",
            "protocol/test_server.py::test_nothing_listens_beyond_loopback",
            "packaging/test_lifecycle.py::test_it_calls_this_machine_only_where_nothing_else_is_configured",
        ),
    ),
    "D2": Line(
        "The Host is ours with our port, for pages and sockets: a rebound name gets 421.",
        ("protocol/test_handshake.py::test_a_host_that_is_not_ours_is_421_for_pages_and_sockets_and_not_repeated",),
    ),
    "D3": Line(
        "Origins are exact; what resembles one is refused.",
        (
            "protocol/test_handshake.py::test_only_exactly_an_allowed_origin_has_rights",
            "protocol/test_handshake.py::test_a_header_that_decides_and_is_there_twice_is_400",
            "protocol/test_origins.py::test_an_origin_that_only_resembles_is_403",
            "protocol/test_origins.py::test_no_other_text_is_an_allowed_origin",
        ),
    ),
    "D4": Line(
        "Without an Origin nobody enters but with the native token.",
        ("protocol/test_handshake.py::test_without_origin_only_the_token_enters",),
    ),
    "D5": Line(
        "No GET has an effect; the answers are short, private, not to be framed, and repeat nothing.",
        (
            "protocol/test_handshake.py::test_every_answer_is_short_private_unframeable_and_repeats_nothing",
            "protocol/test_server.py::test_no_other_get_has_content",
        ),
    ),
    "D6": Line(
        "No CORS header but for an allowed origin, no JSONP.",
        (
            "protocol/test_handshake.py::test_the_answer_of_discovery_is_for_allowed_origins_alone_and_wraps_itself_in_nothing",
        ),
    ),
    "D7": Line(
        "Another path, method, upgrade or subprotocol is refused before a conversation exists.",
        (
            "protocol/test_handshake.py::test_what_is_no_handshake_of_ours_allocates_no_conversation",
            "protocol/test_handshake.py::test_no_method_but_get_is_answered",
            "protocol/test_handshake.py::test_bytes_that_are_no_request_end_the_connection",
        ),
    ),
    "D8": Line(
        "A message over 256 KiB closes with 1009.",
        ("protocol/test_handshake.py::test_an_oversized_message_is_1009_in_one_frame_or_in_many",),
    ),
    "D9": Line(
        "A flood of fragments is closed and kept nowhere.",
        ("protocol/test_handshake.py::test_a_flood_of_empty_fragments_is_closed_and_kept_nowhere",),
    ),
    "D10": Line(
        "Compression is not negotiated.",
        ("protocol/test_handshake.py::test_compression_is_not_negotiated_and_a_compressed_frame_closes",),
    ),
    "D11": Line(
        "Silent and slow connections are bounded, per program and in all; a new good one always enters.",
        (
            "protocol/test_handshake.py::test_a_handshake_byte_by_byte_is_cut_and_silence_is_not",
            "protocol/test_handshake.py::test_with_300_silent_ones_a_new_good_one_enters_and_the_oldest_are_gone",
            "protocol/test_handshake.py::test_70_silent_ones_of_another_program_cost_only_itself",
            "protocol/test_handshake.py::test_while_500_silent_ones_that_come_back_at_once_are_held_each_new_good_one_enters",
            "protocol/test_handshake.py::test_no_flood_fills_the_door_above_its_ceiling",
            "protocol/test_silent.py::test_both_bounds_hold_the_newest_stays_and_a_program_loses_its_oldest_first",
        ),
    ),
    "D12": Line(
        "Conversations are bounded, per origin and in all; the command line always enters.",
        (
            "protocol/test_handshake.py::test_more_conversations_of_one_origin_than_the_setting_are_429",
            "protocol/test_handshake.py::test_more_conversations_than_the_setting_are_429_but_for_the_command_line",
            "protocol/test_handshake.py::test_four_sites_may_wait_for_the_person_and_a_fifth_is_429",
            "protocol/test_handshake.py::test_one_site_holds_two_places_of_those_who_wait_and_others_find_room",
        ),
    ),
    "D13": Line(
        "INSi calls and code windows are bounded per origin; one code window at a time.",
        (
            "workflows/test_rates.py::test_an_insi_call_too_many_is_refused_before_any_card_or_code_and_says_when_to_come_back",
            "workflows/test_rates.py::test_a_days_limit_slides_over_24_hours",
            "workflows/test_rates.py::test_a_code_window_too_many_does_not_appear",
            "workflows/test_rates.py::test_one_code_window_at_a_time_is_on_screen_whoever_asks",
            "workflows/test_rates.py::test_what_is_allowed_and_the_wait_told_are_those_of_a_list_that_forgets_nothing",
        ),
    ),
    "D14": Line(
        "JSON is read strictly: no duplicate member, no NaN, no number out of range, not too deep, UTF-8 only.",
        (
            "protocol/test_session.py::test_what_is_no_json_for_us_is_answered_with_a_null_id",
            "protocol/test_session.py::test_any_text_gives_an_answer_or_a_call",
            "protocol/test_handshake.py::test_text_that_is_no_utf8_closes_1007",
            "protocol/test_handshake.py::test_a_frame_against_the_rules_closes_1002",
            "fuzz/test_door.py::test_all_that_is_hostile_ends_as_specified_and_the_agent_is_whole_afterwards",
            "fuzz/test_guided.py::test_whatever_comes_from_outside_every_reader_keeps_its_promise",
        ),
    ),
    "D15": Line(
        "Unknown members are refused by name.",
        ("protocol/test_session.py::test_an_unknown_member_is_refused_by_name",),
    ),
    "D16": Line(
        "A program of another account of the machine is refused.",
        (
            "protocol/test_handshake.py::test_another_users_program_is_403_everywhere_and_ours_enters",
            "protocol/test_handshake.py::test_another_users_program_enters_where_the_administrator_says_so",
            "protocol/test_handshake.py::test_a_peer_that_cannot_be_seen_is_403_and_said_once",
            "protocol/test_handshake.py::test_another_account_gets_its_403_while_it_floods_us",
            "test_peers.py::test_another_users_program_is_refused_and_our_own_is_welcome",
        ),
        not_here=(
            "Windows (owning process, account, session) and macOS (owning process): written from the documents; "
            "no such system here."
        ),
    ),
    "D17": Line(
        "A port is bound exclusively, and the agent proves its key, so that a page tells an impostor.",
        (
            "protocol/test_server.py::test_another_program_on_the_first_port_moves_us_to_the_next",
            "protocol/test_server.py::test_all_ports_held_says_so",
            "test_identity.py::test_a_proof_says_who_answered_which_challenge_to_whom",
        ),
        not_here="Windows' own exclusive binding (SO_EXCLUSIVEADDRUSE): no Windows here.",
    ),
    "D18": Line(
        "Token, lock and port files are the user's alone, in the user's own folder.",
        (
            "test_places.py::test_folders_are_made_for_this_user_alone_even_where_they_were_open",
            "test_places.py::test_a_native_client_finds_the_running_agent_and_nobody_else_does",
            "test_places.py::test_one_agent_at_a_time_by_a_file_of_this_user_alone",
            "test_places.py::test_a_folder_that_is_a_link_laid_by_somebody_is_refused",
        ),
        not_here="Windows: the profile's own access lists are relied on.",
    ),
    "D19": Line(
        "No secret in a command line or an environment; the token comes in a header, and an address of ours that "
        "carries anything is refused.",
        (
            "journey/test_canaries.py::test_no_environment_and_no_command_line_of_the_session_ever_holds_one",
            "protocol/test_handshake.py::test_without_origin_only_the_token_enters",
            "protocol/test_handshake.py::test_what_is_no_handshake_of_ours_allocates_no_conversation",
        ),
    ),
    "D20": Line(
        "Consent is never given by closing, by an early key or click, by default, nor where policy refuses.",
        (
            "tray/test_consent_window.py::test_nothing_is_chosen_at_first_and_no_key_but_on_a_button_answers",
            "tray/test_consent_window.py::test_in_its_first_moments_keys_and_clicks_change_nothing_at_all",
            "workflows/test_sites.py::test_every_other_answer_turns_the_site_away",
            "workflows/test_sites.py::test_a_policy_that_refuses_unknown_sites_wins_over_every_consent",
            "test_consent.py::test_not_now_is_an_hour_then_two_then_four_and_never_more_than_a_week",
        ),
    ),
    "D21": Line(
        "A revocation ends the open sockets at once.",
        (
            "journey/test_consent.py::test_a_new_site_asks_works_once_allowed_loses_it_by_the_command_line_and_asks_again",
            "journey/test_consent.py::test_the_tray_opens_the_list_of_sites_where_an_access_is_taken_back",
            "journey/test_consent.py::test_a_site_that_loses_rights_loses_its_card_session",
            "protocol/test_server.py::test_revoked_rights_close_4001_and_new_ones_are_pushed",
        ),
    ),
    "D22": Line(
        "Proofs and receipts hold for one challenge, origin and environment; a repeated request makes no second call.",
        (
            "test_identity.py::test_a_receipt_for_something_else_is_refused",
            "test_identity.py::test_a_proof_never_passes_as_a_receipt",
            "workflows/test_rates.py::test_a_stored_result_that_is_replayed_is_no_call",
            "web/test_receipt_servers.py::test_a_receipt_is_refused_with_one_reason_in_both_languages",
            "web/test_receipt_servers.py::test_without_an_argument_that_is_the_servers_own_nothing_is_checked",
            "web/test_receipt_servers.py::test_a_rotation_to_which_both_keys_did_not_agree_is_refused",
        ),
    ),
    "D23": Line(
        "Windows die with the page that asked.",
        (
            "journey/test_consent.py::test_a_window_about_a_card_dies_with_the_page_that_asked",
            "journey/test_consent.py::test_a_window_about_a_site_dies_with_the_last_page_that_asked_and_nothing_is_remembered",
            "tray/test_pin_window.py::test_the_window_ends_with_an_agent_that_is_killed",
        ),
    ),
    "D24": Line(
        "Each origin has its own rights; readings, traces and sessions are its own; admin is the command line's.",
        (
            "protocol/test_session.py::test_a_method_without_its_right_is_refused",
            "journey/test_simulated.py::test_another_origin_gets_no_signature_from_a_session_it_did_not_open",
            "journey/test_simulated.py::test_a_reading_and_a_trace_of_another_origin_are_unknown",
            "workflows/test_sites.py::test_a_consent_gives_the_rights_configured_at_the_moment_of_use_and_never_admin",
        ),
    ),
    "D25": Line(
        "The code is in no message, log, file, environment or dump, and not in the agent's memory after login.",
        (
            "protocol/test_session.py::test_there_is_no_pin_in_any_message",
            "journey/test_canaries.py::test_the_agents_own_memory_holds_no_code_after_login",
            "journey/test_canaries.py::test_the_windows_processes_are_gone_with_their_copies",
            "test_child.py::test_agent_worker_and_window_abort_in_the_middle_of_their_work_and_leave_no_core",
            "test_child.py::test_windows_is_asked_for_no_error_report_and_for_none_with_memory",
        ),
        not_here=(
            "Windows: that no error report is made, none with the heap (SetErrorMode and WerSetFlags are called as "
            "documented), nor a dump that an administrator switched on."
        ),
    ),
    "D26": Line(
        "The code window says who asks, with which software, for what, whose card and how many tries; above "
        "all, armed late, the last try only after a tick.",
        (
            "tray/test_words.py::test_the_window_says_who_asks_for_what_and_whose_card",
            "tray/test_words.py::test_few_tries_left_are_said_in_words",
            "tray/test_pin_window.py::test_the_window_is_above_the_others_and_has_the_keyboard",
            "tray/test_pin_window.py::test_the_last_try_is_typed_only_after_the_tick",
            "tray/test_pin_window.py::test_a_return_meant_for_another_window_answers_nothing",
        ),
    ),
    "D27": Line(
        "A wrong code is never sent twice.",
        (
            "journey/test_simulated.py::test_a_wrong_code_is_said_and_the_card_is_not_asked_again",
            "workflows/test_card_session.py::test_a_wrong_code_at_a_signature_ends_the_session_and_the_card_is_not_asked_again",
            "journey/test_real_parts.py::test_a_wrong_code_is_said_and_costs_one_try",
        ),
    ),
    "D28": Line(
        "Logs and support bundle hold no code, NIR, name or assertion.",
        (
            "journey/test_canaries.py::test_no_file_holds_one_while_the_agent_runs_or_after",
            "journey/test_canaries.py::test_the_support_bundle_holds_none_and_still_tells_what_happened",
            "journey/test_canaries.py::test_what_is_told_of_the_journal_to_whom_it_does_not_concern_holds_none",
            "journey/test_canaries.py::test_the_second_copy_of_the_journal_holds_none",
            "journey/test_canaries.py::test_the_systems_log_heard_of_start_stop_and_faults_and_of_nobody",
            "test_log.py::test_what_has_the_shape_of_a_person_or_of_a_secret_is_gone",
        ),
    ),
    "D29": Line(
        "A code is never kept; the card session ends with card, screen, time or agent, and the card then "
        "forgets the code.",
        (
            "workflows/test_card_session.py::test_a_session_lost_to_another_program_asks_the_person_again_and_no_code_was_kept",
            "workflows/test_card_session.py::test_the_session_leaves_with_its_card_also_when_another_card_takes_the_place",
            "test_screen.py::test_a_locked_screen_ends_the_card_session_of_a_running_agent",
            "workflows/test_card_session.py::test_a_session_ends_when_it_is_not_used_and_at_the_latest_at_its_maximum",
            "workflows/test_card_session.py::test_the_timer_says_how_long_is_left_and_closes_the_session_on_the_card_too",
            "workflows/test_real_card.py::test_a_worker_killed_with_a_session_open_leaves_no_verified_card",
        ),
        not_here="Windows: the notification of a locked session.",
    ),
    "D30": Line(
        "INSi's addresses and anchors are configured, host names checked, no redirect, no proxy or anchor "
        "from the environment.",
        (
            "insi/test_server_trust.py::test_a_server_of_another_authority_is_an_interception_and_the_authority_is_named",
            "insi/test_server_trust.py::test_a_server_is_believed_by_its_name",
            "insi/test_server_trust.py::test_a_revoked_server_gets_nothing",
            "insi/test_server_trust.py::test_the_environment_adds_no_anchor_no_proxy_and_no_key_log",
            "insi/test_http.py::test_each_misbehaviour_has_its_code_and_the_next_call_works",  # one is a redirection
        ),
    ),
    "D31": Line(
        "XML without DTD or entities; a wrapped signature is refused.",
        (
            "insi/test_answers.py::test_a_dtd_is_refused_and_no_entity_is_followed",
            "insi/test_answers.py::test_a_very_deep_reply_is_unreadable",
            "simulator/test_assertion_check.py::test_a_wrapped_signature_is_refused_where_a_bare_verifier_is_fooled",
        ),
    ),
    "D32": Line(
        "A card module is an absolute path that nobody else may change.",
        (
            "test_native.py::test_a_bare_name_is_never_searched_for",
            "test_native.py::test_what_a_group_or_others_may_write_is_refused",
            "test_native.py::test_what_belongs_to_another_user_is_refused",
            "signing/test_modules.py::test_the_worker_refuses_by_itself_what_others_could_replace",
        ),
        not_here="Windows: access lists, signatures of modules, LOAD_LIBRARY_SEARCH flags.",
    ),
    "D33": Line(
        "Nothing is read by pickle, YAML or eval.",
        (
            "test_architecture.py::test_nothing_is_read_by_pickle_yaml_or_eval",
            "test_architecture.py::test_each_outside_library_has_its_one_file",
        ),
    ),
    "D34": Line(
        "File names are ours: nothing that a page sent is part of one.",
        (
            "test_support.py::test_a_bundle_is_one_private_file_with_a_date_that_says_what_it_holds",
            "journey/test_canaries.py::test_no_file_holds_one_while_the_agent_runs_or_after",
            "test_journal_command.py::test_nothing_that_stands_in_a_journal_names_a_file",
        ),
    ),
    "D35": Line(
        "No update channel and no telemetry: it calls INSi alone.",
        ("packaging/test_lifecycle.py::test_it_calls_this_machine_only_where_nothing_else_is_configured",),
    ),
    "D36": Line(
        "The authority for wss is the user's own, limited to localhost, its key gone after one signature; all"
        " can be taken out again.",
        (
            "test_local_tls.py::test_the_authority_speaks_for_localhost_alone_and_has_none_below_it",
            "test_local_tls.py::test_what_was_made_is_loaded_and_its_key_is_nowhere_in_clear",
            "test_local_tls.py::test_enable_says_what_to_trust_renew_what_to_replace_and_remove_what_to_take_out",
            "test_local_tls.py::test_without_a_keyring_remove_says_what_to_trust_no_longer_and_can_be_begun_again",
            "web/test_wss.py::test_a_certificate_of_the_same_authority_for_another_site_is_refused",
            "web/test_wss.py::test_a_page_says_hello_over_wss_once_the_authority_is_trusted_and_no_longer_after",
        ),
        not_here="Safari, and the trust stores of Windows and macOS.",
    ),
    "D37": Line(
        "Its end is said every day from 30 days before; one command renews it, and says what to trust instead.",
        (
            "test_local_tls.py::test_the_page_is_warned_30_days_before_the_end_and_told_at_the_end",
            "test_local_tls.py::test_each_pair_has_another_name_and_another_key_and_the_old_one_is_gone",
            "test_local_tls.py::test_enable_says_what_to_trust_renew_what_to_replace_and_remove_what_to_take_out",
        ),
    ),
    "D38": Line(
        "No private key is in the package.",
        ("packaging/test_lifecycle.py::test_no_private_key_is_shipped",),
    ),
    "D39": Line(
        "A removed installation leaves no listener and no start; no authority, once `insi-agent wss remove` and its "
        "lines were run; and no policy of the agent's: it only writes them to the folder that IT names.",
        (
            "packaging/test_lifecycle.py::test_it_writes_in_its_users_folders_only",
            "packaging/test_lifecycle.py::test_it_makes_nothing_start_again_and_adds_no_trust",
            "packaging/test_lifecycle.py::test_the_lines_of_wss_remove_take_out_every_authority_that_was_ever_trusted",
            "packaging/test_lifecycle.py::test_a_policy_is_written_where_it_is_asked_for_and_nowhere_else",
            "packaging/test_lifecycle.py::test_a_removed_installation_leaves_no_file_and_no_listener",
        ),
        not_here="Windows: the MSI, which is not built yet.",
    ),
    "D40": Line(
        "An upgrade changes no setting; an older agent leaves a newer one's journal alone.",
        (
            "packaging/test_lifecycle.py::test_an_upgrade_touches_no_setting",
            "journal/test_store.py::test_a_journal_of_a_newer_agent_is_left_alone",
        ),
        not_here="Windows: the MSI, which is not built yet.",
    ),
    "D41": Line(
        "Native card code that crashes or hangs does not take the agent along.",
        (
            "signing/test_worker.py::test_a_module_that_crashes_is_said_and_the_next_call_has_another_worker",
            "signing/test_worker.py::test_a_module_that_hangs_is_killed_and_the_next_call_works",
            "readers/test_apilec.py::test_a_library_that_crashes_is_said_and_the_next_reading_has_another_worker",
        ),
    ),
}

_HEAD = """# The defence list, line by line

Written by `make defences`, which runs every test named here: {total}. A test of several cases is counted by its cases.
`SECURITY.md` says against whom, and what is not defended.

| line | what is defended | held by | result |
| --- | --- | --- | --- |
"""

if __name__ == "__main__":
    sys.exit(write(DOCUMENT, _HEAD, DEFENCES))
