//! Rows about logins by password: 18, 20, 21, 22, 23, 31.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::json;

use super::{Cell, Reply};

/// CVE-2025-6004: spaces and case each had their own count.
pub(super) async fn row_018_spellings_share_one_count_of_failures_at_all_nodes(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    cell.user(&mount, "bob", json!({"password": "right"})).await?;
    cell.user(&mount, "carl", json!({"password": "right"})).await?;
    let wrong = json!({"password": "wrong"});
    for (number, spelling) in ["bob", "BOB", "%20bob", "bob%20", "Bob"].into_iter().enumerate() {
        let tried = cell.log_in(cell.turn(number), &mount, spelling, &wrong).await?;
        tried.is(&[400, 403], &format!("a wrong password of {spelling}"))?;
    }
    let right = json!({"password": "right"});
    for door in &cell.nodes {
        let sixth = cell.log_in(door, &mount, "bob", &right).await?;
        sixth.is(&[403], "the right password after five failures")?;
        let other = cell.log_in(door, &mount, "carl", &right).await?;
        other.is(&[200], "the right password of somebody else")?;
    }
    Ok(())
}

/// CVE-2025-6010: a lock, or an answer, told that the user is there.
pub(super) async fn row_020_a_lock_tells_nothing_about_a_user(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    cell.user(&mount, "anna", json!({"password": "right"})).await?;
    let mut seen = Vec::new();
    for user in ["anna", "nobody"] {
        let mut answers = Vec::new();
        for number in 0..8 {
            let body = json!({"password": "wrong"});
            answers.push(cell.log_in(cell.turn(number), &mount, user, &body).await?.shown());
        }
        answers.push(cell.log_in(&cell.node, &mount, user, &json!({"password": "right"})).await?);
        let last = answers.pop().map(|reply| reply.shown());
        answers.extend(last);
        seen.push(answers);
    }
    ensure!(seen[0] == seen[1], "anna: {:?}\nnobody: {:?}", seen[0], seen[1]);
    ensure!(seen[0].iter().all(|reply| reply.status == 403), "{:?}", seen[0]);
    Ok(())
}

/// CVE-2020-35177, CVE-2023-3462: the words of a refusal differed.
pub(super) async fn row_021_whatever_is_wrong_with_a_login_has_one_answer(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    cell.user(&mount, "anna", json!({"password": "right"})).await?;
    cell.user(&mount, "locked", json!({"password": "right"})).await?;
    let elsewhere = json!({"password": "right", "token_bound_cidrs": "192.0.2.0/24"});
    cell.user(&mount, "elsewhere", elsewhere).await?;
    let (right, wrong) = (json!({"password": "right"}), json!({"password": "wrong"}));
    for number in 0..5 {
        cell.log_in(cell.turn(number), &mount, "locked", &wrong).await?.refused("a failure")?;
    }
    let long = json!({"password": "right".repeat(40)});
    let tries = [
        ("a wrong password", "anna", &wrong),
        ("an unknown user", "nobody", &right),
        ("a name that nobody can have", "an%20na", &right),
        ("a user who is locked out", "locked", &right),
        ("a user of another network", "elsewhere", &right),
        ("a password that is too long", "anna", &long),
    ];
    let mut first: Option<Reply> = None;
    for (what, user, body) in tries {
        for door in &cell.nodes {
            let reply = cell.log_in(door, &mount, user, body).await?.shown();
            ensure!(reply.status == 403, "{what}: {reply}");
            let first = first.get_or_insert_with(|| reply.clone());
            ensure!(reply == *first, "{what}: {reply:?}, not {first:?}");
        }
    }
    Ok(())
}

/// CVE-2025-13357: an empty password logged in.
pub(super) async fn row_022_an_empty_password_is_none(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    cell.user(&mount, "anna", json!({"password": "right"})).await?;
    let bodies = [
        json!({"password": ""}),
        json!({"password": null}),
        json!({}),
        json!({"password": "   "}),
        json!({"password": "\t\n"}),
        json!({"password": []}),
        json!({"password": false}),
    ];
    for body in &bodies {
        for user in ["anna", "nobody"] {
            let tried = cell.log_in(&cell.node, &mount, user, body).await?;
            tried.is(&[400], &format!("{user} logs in by {body}"))?;
        }
        for path in ["users/new", "users/anna/password"] {
            let tried = cell.root().post(&format!("auth/{mount}/{path}"), body).await?;
            tried.is(&[400], &format!("{path} with {body}"))?;
        }
    }
    let path = format!("auth/{mount}/login/anna");
    let without = cell.nobody().call("POST", &path, &[], b"").await?;
    without.is(&[400], "a login without a body")?;
    let right = cell.log_in(&cell.node, &mount, "anna", &json!({"password": "right"})).await?;
    right.is(&[200], "the right password afterwards")?;
    Ok(())
}

/// RUSTSEC-2026-0199: a stored hash that is none ended the process; 73 bytes of a password are 72.
pub(super) async fn row_023_long_passwords_differ_and_foreign_hashes_are_refused(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    let hashes = [
        "",
        "x",
        "$2b$10$",
        "$2b$10$\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        "$2b$31$a0DqbFLfZFPxWUvya0Dqb.KF8TnYhFuH5CF7JWURIM1lohfYPER/2",
        "$2b$00$a0DqbFLfZFPxWUvya0Dqb.KF8TnYhFuH5CF7JWURIM1lohfYPER/2",
        "$1$abc$def",
        "$2b$10$a0DqbFLfZFPxWUvya0Dqb.KF8TnYhFuH5CF7JWURIM1lohfYPER/\u{e4}",
    ];
    for hash in hashes {
        let (path, body) =
            (format!("auth/{mount}/users/foreign"), json!({ "password_hash": hash }));
        cell.root().post(&path, &body).await?.is(&[400], &format!("the hash {hash:?}"))?;
    }
    let long = |last: char| format!("{}{last}{}", "p".repeat(74), "q".repeat(5));
    let body = json!({"password": long('a')});
    let made = cell.root().post(&format!("auth/{mount}/users/long"), &body).await?;
    let made = made.is(&[204, 400], "a password of 80 bytes")?;
    let other = json!({"password": long('b')});
    if made.status == 204 {
        cell.log_in(&cell.node, &mount, "long", &body).await?.is(&[200], "the password itself")?;
    }
    let tried = cell.log_in(&cell.node, &mount, "long", &other).await?;
    tried.is(&[400, 403], "a password that differs at byte 75")?;
    cell.user(&mount, "most", json!({"password": "m".repeat(72)})).await?;
    let right = json!({"password": "m".repeat(72)});
    cell.log_in(&cell.node, &mount, "most", &right).await?.is(&[200], "72 bytes")?;
    let more = json!({"password": "m".repeat(73)});
    cell.log_in(&cell.node, &mount, "most", &more).await?.is(&[400, 403], "73 bytes")?;
    Ok(())
}

/// CVE-2026-46405: a login that failed left a token that nobody was shown.
pub(super) async fn row_031_a_failed_login_leaves_no_token(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    let off = json!({"user_lockout_config": {"lockout_disable": true}});
    cell.root().post(&format!("sys/auth/{mount}/tune"), &off).await?.done("no lock-out")?;
    cell.user(&mount, "anna", json!({"password": "right"})).await?;
    cell.user(&mount, "rooted", json!({"password": "right", "token_policies": "root"})).await?;
    let away = json!({"password": "right", "token_bound_cidrs": "192.0.2.1"});
    cell.user(&mount, "away", away).await?;
    let before = accessors(cell).await?;
    let (right, wrong) = (json!({"password": "right"}), json!({"password": "wrong"}));
    for _ in 0..FAILURES {
        for (user, body) in
            [("anna", &wrong), ("nobody", &wrong), ("rooted", &right), ("away", &right)]
        {
            let failed = cell.log_in(&cell.node, &mount, user, body).await?;
            failed.refused(&format!("a login of {user}"))?;
        }
    }
    let after = accessors(cell).await?;
    for accessor in after.difference(&before) {
        let body = json!({ "accessor": accessor });
        let found = cell.root().post("auth/token/lookup-accessor", &body).await?;
        // Others make and end tokens meanwhile.
        if found.status == 200 {
            let path = found.text("/data/path")?;
            ensure!(!path.contains(&mount), "a failed login left a token made at {path}");
        }
    }
    let right = cell.log_in(&cell.node, &mount, "anna", &right).await?.is(&[200], "a login")?;
    let accessor = right.text("/auth/accessor")?;
    ensure!(accessors(cell).await?.contains(&accessor), "a good login is in the list");
    Ok(())
}

async fn accessors(cell: &Cell) -> anyhow::Result<BTreeSet<String>> {
    let list = cell.root().list("auth/token/accessors").await?.done("the accessors")?;
    Ok(list.texts("/data/keys")?.into_iter().collect())
}

/// A password hash each.
const FAILURES: usize = 4;
