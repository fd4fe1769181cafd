"""All checks, in the order in which they are told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from connections.providers.conformance import failures, replies, requests, settings, streams
from connections.providers.conformance.demands import Skipped
from connections.providers.conformance.golden import Golden

Check = Callable[[Golden], None]

CHECKS: tuple[tuple[ModuleType, tuple[Check, ...]], ...] = (
    (
        settings,
        (
            settings.settings_explain_themselves,
            settings.what_sounds_secret_is_a_secret,
            settings.addresses_are_targets,
            settings.the_gallery_can_show_it,
            settings.unknown_settings_are_refused,
            settings.settings_survive_being_stored,
            settings.no_secret_shows_in_any_text,
            settings.bad_secrets_are_refused,
            settings.all_secrets_are_known,
            settings.the_key_travels_in_headers_only,
            settings.a_static_key_stands_in_a_header,
            settings.an_echoed_key_is_scrubbed,
        ),
    ),
    (
        requests,
        (
            requests.every_mode_has_golden_files,
            requests.golden_requests_are_made,
            requests.no_parameter_is_lost,
            requests.all_parameters_make_a_request,
            requests.model_ids_stay_in_their_place,
            requests.the_check_only_looks,
        ),
    ),
    (
        replies,
        (
            replies.golden_replies_are_read,
            replies.unreadable_answers_are_bad_replies,
            replies.the_list_of_models_is_read,
        ),
    ),
    (
        streams,
        (
            streams.streams_are_recorded,
            streams.every_split_is_read_alike,
            streams.usage_is_for_those_who_asked,
            streams.a_cut_stream_is_an_error,
            streams.an_empty_stream_is_an_error,
            streams.nothing_after_the_end_counts,
            streams.errors_inside_streams_are_named,
            streams.events_without_json_are_bad_replies,
        ),
    ),
    (
        failures,
        (
            failures.failures_have_names,
            failures.its_own_errors_are_named,
            failures.errors_inside_good_answers_are_named,
            failures.the_check_tells_a_refused_key,
            failures.garbage_is_survived,
            failures.streams_of_garbage_are_survived,
        ),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one check."""

    about: str
    """The subject: settings, requests, replies, streams or failures."""
    promise: str
    problem: str = ""
    skipped: str = ""


def outcomes(golden: Golden) -> Iterator[Outcome]:
    for module, checks in CHECKS:
        about = module.__name__.rpartition(".")[2]
        for check in checks:
            promise = (check.__doc__ or "").strip().splitlines()[0]
            try:
                check(golden)
                yield Outcome(about, promise)
            except Skipped as reason:
                yield Outcome(about, promise, skipped=str(reason))
            except AssertionError as problem:
                yield Outcome(about, promise, problem=str(problem))
            except Exception as error:  # what a provider raises where nothing may be raised
                yield Outcome(about, promise, problem=f"{type(error).__name__}: {error}"[:400])
