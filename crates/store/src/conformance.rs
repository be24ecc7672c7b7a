//! One conformance suite for every backend: what [`EventStore`](crate::EventStore) promises and what
//! [`crate::rules`] says, as small cases with names.
//!
//! A backend implements [`Backend`] in its tests, so that each case gets an empty store, and calls
//! [`conformance_tests!`](crate::conformance_tests), which makes one `#[test]` of each case:
//!
//! ```
//! use heliograph_store::{MemoryStore, conformance};
//!
//! struct Memory;
//!
//! impl conformance::Backend for Memory {
//!     type Store = MemoryStore;
//!     type Handle = Box<MemoryStore>;
//!
//!     async fn open(&self) -> Box<MemoryStore> {
//!         Box::new(MemoryStore::new(conformance::relay_urls()))
//!     }
//! }
//!
//! fn block_on<F: Future>(future: F) {
//!     // Run it on the backend's runtime.
//! # drop(future);
//! }
//!
//! heliograph_store::conformance_tests!(block_on, Memory);
//! ```
//!
//! The suite needs no runtime of its own and no clock: it may run on any executor. Its events carry
//! a constant signature. Nothing in it expires by the wall clock unless it has to be gone.

pub mod addresses;
pub mod deletion;
pub mod expiring_orders;
pub mod expiry;
pub mod filters;
mod fixture;
pub mod mixed_orders;
pub mod orders;
mod permute;
mod random;
pub mod scans;
pub mod tags;
pub mod vanish;
pub mod writes;

pub use fixture::{
    Backend, Bed, Effort, NOW, RELAY_URL, SIGNATURE, collect, collect_pages, event, key, relay_urls,
};
pub use permute::Scenario;
pub use random::{Rng, compare, random_events, random_filter, surviving};

/// The random cases.
pub mod randomly {
    pub use super::random::{
        any_order_leaves_the_same_set, concurrent_writers_leave_the_same_set,
        writes_and_filters_match_the_memory_store,
    };
}

/// Makes one `#[test]` of each case of the suite.
///
/// `conformance_tests!(block_on, backend)`: `block_on` is something callable that runs a future to
/// its end, `backend` an expression of a type that implements
/// [`Backend`](crate::conformance::Backend), evaluated once a test.
#[macro_export]
macro_rules! conformance_tests {
    (@each $block_on:path, $backend:expr; $($module:ident { $($case:ident)* })*) => {
        $($(
            #[test]
            fn $case() {
                $block_on($crate::conformance::$module::$case(&$backend));
            }
        )*)*
    };
    ($block_on:path, $backend:expr) => {
        $crate::conformance_tests! { @each $block_on, $backend;
            writes {
                a_new_event_is_stored_and_found
                an_event_sent_again_is_a_duplicate
                a_batch_is_merged_in_order
                an_empty_batch_has_no_outcomes
                a_large_batch_is_stored_whole
                texts_come_back_byte_for_byte
                regular_kinds_are_all_kept
            }
            addresses {
                an_older_version_is_superseded
                a_newer_version_removes_the_older_one
                on_equal_times_the_lowest_id_wins
                every_replaceable_kind_keeps_one_version
                replaceable_kinds_ignore_the_d_tag
                authors_and_kinds_have_addresses_of_their_own
                addressable_events_are_told_apart_by_d
                d_values_are_compared_byte_for_byte
                no_d_tag_and_an_empty_one_are_the_same_address
                the_first_d_tag_counts
                long_d_values_are_told_apart
            }
            deletion {
                a_request_removes_the_event_it_names
                a_request_refuses_the_event_that_comes_later
                one_request_removes_many_events
                other_authors_events_stay
                foreign_references_are_skipped_one_by_one
                malformed_references_are_skipped
                deletion_by_id_ignores_the_time
                a_request_by_address_removes_up_to_its_time
                a_request_by_address_leaves_newer_versions
                a_request_by_address_refuses_older_versions_for_ever
                the_newest_request_by_address_counts
                a_request_by_address_reaches_replaceable_kinds
                a_d_value_may_contain_colons
                a_request_by_address_leaves_regular_kinds
                other_authors_addresses_stay
                deleting_the_newest_version_brings_none_back
                an_older_version_after_a_deletion_stays_refused
                a_version_deleted_before_it_came_still_supersedes
                a_deleted_older_version_changes_nothing
                deletion_requests_can_not_be_deleted
                the_recipient_deletes_a_gift_wrap
                the_recipient_refuses_a_gift_wrap_that_comes_later
                strangers_delete_no_gift_wrap
                a_p_tag_gives_no_right_over_other_kinds
            }
            vanish {
                everything_of_the_author_up_to_then_is_removed
                what_vanished_is_refused_for_ever
                newer_events_are_welcome
                deletion_requests_vanish_too
                guards_outlive_the_request_that_made_them
                a_vanished_deletion_request_makes_no_guards
                gift_wraps_to_the_author_vanish
                gift_wraps_to_several_vanish_with_any_of_them
                mentions_by_others_stay
                a_request_for_all_relays_is_in_force
                a_request_for_another_relay_is_a_plain_event
                any_relay_tag_may_name_us
                the_newest_request_stays
                an_older_request_is_refused
                requests_of_one_second_all_stay
                a_request_can_not_be_deleted
                a_plain_request_vanishes_with_the_rest
                deleted_comes_before_vanished
            }
            expiry {
                an_event_is_hidden_from_the_second_it_expires
                an_expired_version_brings_no_older_one_back
                an_event_that_expired_long_ago_is_not_seen
                an_expired_version_is_superseded_by_a_newer_one
                only_the_first_expiration_tag_counts
                the_far_future_does_not_hide_events_without_expiration
            }
            scans {
                newest_come_first_and_lowest_id_within_a_second
                every_page_size_gives_the_same_answer
                a_scan_starts_after_any_place
                the_place_to_start_after_need_not_exist
                since_and_until_are_inclusive
                zero_is_a_bound
                the_end_of_time_is_a_bound
                crossed_bounds_match_nothing
                the_limit_plays_no_part
                a_spent_budget_ends_the_scan
                a_spent_time_budget_ends_the_scan
                events_that_stay_are_seen_once_while_others_come_and_go
                scans_run_beside_each_other
                an_empty_store_answers_at_once
            }
            filters {
                an_empty_filter_matches_everything
                ids_are_exact
                authors_are_exact
                authors_that_begin_alike_are_told_apart
                kinds_are_exact
                conditions_are_anded
                an_empty_list_matches_nothing
                unknown_values_match_nothing
                long_lists_of_authors_are_merged_in_order
                long_lists_of_ids_are_merged_in_order
                every_combination_of_conditions_agrees_with_the_definition
            }
            tags {
                a_tag_is_found_by_its_value
                letters_are_case_sensitive
                values_are_case_sensitive
                conditions_on_several_letters_are_anded
                values_of_one_letter_are_ored
                an_event_with_two_matching_tags_comes_once
                only_the_second_element_counts
                a_tag_without_a_value_matches_nothing
                an_empty_value_is_a_value
                long_names_are_not_indexed
                values_that_begin_alike_are_told_apart
                values_of_1024_bytes_are_found
                longer_values_are_stored
                values_are_told_apart_byte_for_byte
                address_values_are_plain_text
                every_letter_is_indexed
                removed_events_leave_no_tag_behind
            }
            orders {
                a_note_and_its_deletion
                a_note_and_a_foreign_deletion
                three_versions
                versions_of_one_second
                the_newest_version_deleted
                an_older_version_deleted
                a_deletion_by_address_between_versions
                deletions_by_address_and_id
                a_deletion_and_its_deletion
                notes_and_a_request_to_vanish
                two_requests_to_vanish
                requests_to_vanish_of_one_second
                a_request_to_vanish_and_its_deletion
                a_request_to_vanish_elsewhere
                versions_and_a_request_to_vanish
                a_deletion_and_a_request_to_vanish
                a_gift_wrap_and_its_recipients_deletion
                gift_wraps_and_a_request_to_vanish
                d_values_and_a_deletion
            }
            expiring_orders {
                an_expiring_note_and_its_deletion
                an_expiring_version_and_older_ones
                an_expiring_version_and_a_newer_one
                a_version_that_is_over_and_older_ones
                a_version_that_is_over_and_a_newer_one
                versions_of_one_second_that_expire
                an_expiring_version_and_its_deletion
                an_expiring_version_and_a_deletion_by_address
                deletions_that_expire
                a_deletion_by_address_that_is_over
                requests_to_vanish_that_expire
                expiring_events_and_a_request_to_vanish
                an_expiring_gift_wrap_and_its_recipient
                everything_that_ends_a_version
            }
            mixed_orders {
                the_winner_of_a_tie_deleted
                a_loser_of_a_tie_deleted
                ties_and_deletions_by_address
                ties_and_a_request_to_vanish
                a_deletion_by_address_and_a_later_request_to_vanish
                a_deletion_by_address_after_a_request_to_vanish
                a_deleted_version_between_older_ones_and_a_request_to_vanish
                versions_and_two_requests_to_vanish
                a_deletion_of_several_things
                deletions_that_overlap
                deletions_of_deletions_by_id_and_versions
                a_gift_wrap_and_everyone_who_may_remove_it
                two_authors_who_leave
                addresses_side_by_side
            }
            randomly {
                writes_and_filters_match_the_memory_store
                any_order_leaves_the_same_set
                concurrent_writers_leave_the_same_set
            }
        }
    };
}
