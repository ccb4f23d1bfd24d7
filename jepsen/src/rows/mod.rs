//! The rows of the table of known failures (THREATS §1) that the request core answers for, each as
//! one function over HTTP. It runs at the leader, at a follower, and at both kinds of node after the
//! leader was killed.
//!
//! A function reads like its row: arrange, act, and say what was seen where that is not what must be.
//! What can only be shown inside a process (how long a parser takes, that a message of a member does
//! not overflow a stack) has its test there, and here its outward face: bad input is refused and the
//! node goes on.

mod audit;
mod bodies;
mod cell;
mod ceremonies;
mod connections;
mod door;
mod floods;
mod kv;
mod logins;
mod matrix;
mod nodes;
mod paths;
mod policies;
mod secrecy;
mod times;
mod tokens;

use futures::future::LocalBoxFuture;

pub(crate) use cell::{API_LOGS, Cell, HASHED_LOG, RAW_LOG, Site};
pub(crate) use door::{Caller, Door, Reply, Request, Session};
pub(crate) use matrix::{Matrix, Place};

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// Its function's: `row_NNN_…`.
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Cell) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

impl Row {
    pub(crate) fn number(self) -> u16 {
        let digits = self.name.strip_prefix("row_").and_then(|rest| rest.get(..3));
        digits.and_then(|digits| digits.parse().ok()).expect("a row is named row_NNN_…")
    }
}

/// A row, or a part of one, that cannot be shown yet.
pub(crate) struct Waiting {
    pub(crate) row: u16,
    /// What there is not.
    pub(crate) lacks: &'static str,
    /// Who brings it.
    pub(crate) until: &'static str,
}

macro_rules! rows {
    ($($module:ident :: $row:ident),* $(,)?) => {
        &[$(Row {
            name: stringify!($row),
            run: |cell| Box::pin($module::$row(cell)),
        }),*]
    };
}

/// Rows that may run beside each other.
pub(crate) const TOGETHER: &[Row] = rows![
    // The slow ones first: they mostly wait.
    floods::row_056_a_head_that_trickles_is_cut_and_floods_of_frames_disturb_nobody,
    tokens::row_029_a_renewal_at_the_end_prolongs_nothing,
    tokens::row_028_a_batch_token_ends_on_time_at_every_node,
    paths::row_001_no_spelling_of_dots_reaches_another_secret,
    policies::row_002_a_denied_name_is_denied_in_every_spelling,
    policies::row_003_no_kind_of_list_slips_past_a_deny,
    policies::row_004_no_page_is_longer_than_the_policy_allows,
    paths::row_005_what_decoders_disagree_about_is_refused_or_one_key,
    paths::row_006_doubled_and_trailing_slashes_are_refused,
    paths::row_007_a_path_of_the_root_gives_nothing_in_a_namespace_of_that_name,
    policies::row_010_a_deny_whose_template_cannot_be_rendered_denies,
    tokens::row_013_no_spelling_of_root_gives_root,
    logins::row_018_spellings_share_one_count_of_failures_at_all_nodes,
    logins::row_020_a_lock_tells_nothing_about_a_user,
    logins::row_021_whatever_is_wrong_with_a_login_has_one_answer,
    logins::row_022_an_empty_password_is_none,
    logins::row_023_long_passwords_differ_and_foreign_hashes_are_refused,
    tokens::row_030_a_batch_token_cannot_be_more_than_it_is,
    logins::row_031_a_failed_login_leaves_no_token,
    secrecy::row_035_no_token_header_reaches_an_engine,
    ceremonies::row_045_cancelling_a_rekey_asks_for_a_token_and_the_nonce,
    ceremonies::row_046_a_ceremony_completes_while_strangers_try_to_start_and_cancel,
    bodies::row_049_hostile_json_is_refused,
    floods::row_050_a_quota_is_asked_before_the_body_is_read,
    connections::row_052_garbage_and_resets_end_no_listener,
    kv::row_054_what_is_too_long_is_refused_and_no_node_dies,
    bodies::row_055_wrong_types_make_no_server_error,
    bodies::row_057_compressed_bodies_are_refused,
    secrecy::row_059_an_answer_to_strangers_names_no_place,
    nodes::row_060_no_member_is_moved_without_a_token,
    nodes::row_061_a_join_in_an_existing_name_changes_no_voter,
    nodes::row_062_every_file_is_private_whatever_the_umask,
    kv::row_066_quotes_and_newlines_are_data,
    audit::row_067_no_token_or_accessor_stands_in_the_audit_log,
    audit::row_068_a_raw_device_leaks_on_no_other,
    audit::row_069_values_of_every_type_are_hashed,
    audit::row_070_no_header_of_authority_is_logged,
    audit::row_071_a_refusal_repeats_nothing_that_was_sent,
    audit::row_072_what_another_node_hands_on_is_hidden_as_well,
    secrecy::row_073_secrets_of_environment_and_configuration_are_in_no_log,
    secrecy::row_074_secrets_of_the_configuration_are_in_no_answer,
    audit::row_075_an_api_enables_only_files_in_the_allowed_directory,
    audit::row_076_the_old_name_of_the_path_is_guarded_as_well,
    tokens::row_086_a_token_of_a_network_works_from_there_alone,
    connections::row_101_answers_are_json_that_nobody_keeps,
    policies::row_105_the_value_that_is_judged_is_the_value_that_is_used,
    kv::row_106_each_route_of_kv_needs_its_own_capability,
    tokens::row_107_no_child_has_more_than_its_parent,
    connections::row_108_a_request_has_one_length_and_one_method,
    connections::row_109_nobody_says_from_where_somebody_else_asks,
    connections::row_110_a_stranger_at_the_peer_port_is_cut_off,
];

/// Rows that measure time or memory, one after the other when all else is done.
pub(crate) const ALONE: &[Row] = rows![
    times::row_019_a_missing_user_costs_a_whole_password_hash,
    times::row_034_a_token_that_is_nearly_right_takes_as_long,
    times::row_058_mounts_cannot_be_told_apart_without_a_token,
    floods::row_047_joins_of_strangers_take_no_memory,
    floods::row_048_huge_and_endless_bodies_are_refused_early,
    floods::row_051_deciding_takes_no_memory,
];

/// Every row.
pub(crate) fn all() -> impl Iterator<Item = Row> {
    TOGETHER.iter().chain(ALONE).copied()
}

/// The one list of what cannot be shown yet. A row stands here and above where a part of it can.
pub(crate) const WAITING: &[Waiting] = &[
    Waiting { row: 8, lacks: "metadata of entities and aliases", until: "issue 7 (identity)" },
    Waiting { row: 9, lacks: "metadata of entities and aliases", until: "issue 7 (identity)" },
    Waiting { row: 11, lacks: "entities with aliases on two mounts", until: "issue 7 (identity)" },
    Waiting { row: 12, lacks: "entities", until: "issue 7 (identity)" },
    Waiting { row: 14, lacks: "groups", until: "issue 7 (identity)" },
    Waiting { row: 53, lacks: "the transit engine", until: "the issue that brings transit" },
    Waiting { row: 7, lacks: "namespaces to create", until: "issue 7 (namespaces)" },
    Waiting { row: 10, lacks: "entities with forbidden values", until: "issue 7 (identity)" },
    Waiting { row: 13, lacks: "root as an entity's or AppRole's policy", until: "issue 7" },
    Waiting { row: 28, lacks: "leases of a batch token", until: "issue 7 (leases)" },
    Waiting { row: 86, lacks: "networks of AppRole's secret ids", until: "issue 7 (AppRole)" },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The numbers that the request core answers for.
    fn asked_for() -> BTreeSet<u16> {
        let ranges = [1..=14, 18..=23, 28..=31, 34..=35, 45..=62, 66..=76, 86..=86, 101..=101];
        ranges.into_iter().flatten().chain(105..=110).collect()
    }

    #[test]
    fn functions_and_what_waits_are_the_rows_that_were_asked_for() {
        let shown: BTreeSet<u16> = all().map(Row::number).collect();
        let waiting: BTreeSet<u16> = WAITING.iter().map(|waiting| waiting.row).collect();
        assert_eq!(shown.len(), all().count(), "a row has one function");
        assert_eq!(waiting.len(), WAITING.len(), "a row waits once");
        assert_eq!(&shown | &waiting, asked_for());
        assert!(
            WAITING.iter().all(|waiting| !waiting.lacks.is_empty() && !waiting.until.is_empty())
        );
    }
}
