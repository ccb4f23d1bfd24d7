//! The table: each row at each place. A cell that nobody filled is as bad as one that failed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Row, WAITING, all};

/// A place where every row must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Leader,
    Follower,
    /// The node that leads since the leader was killed.
    NewLeader,
    /// The one that follows it.
    NewFollower,
}

impl Place {
    pub(crate) const ALL: [Self; 4] =
        [Self::Leader, Self::Follower, Self::NewLeader, Self::NewFollower];

    fn title(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::NewLeader => "after failover",
            Self::NewFollower => "after failover, follower",
        }
    }

    /// For names.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Leader => 'l',
            Self::Follower => 'f',
            Self::NewLeader => 'n',
            Self::NewFollower => 'm',
        }
    }
}

/// What became of every cell.
#[derive(Default)]
pub(crate) struct Matrix {
    cells: BTreeMap<(u16, Place), Result<(), String>>,
}

impl Matrix {
    pub(crate) fn note(&mut self, row: Row, place: Place, outcome: Result<(), String>) {
        self.cells.insert((row.number(), place), outcome);
    }

    /// Each cell that is not as it must be, with what was seen.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for row in sorted() {
            for place in Place::ALL {
                let seen = match self.cells.get(&(row.number(), place)) {
                    Some(Ok(())) => continue,
                    Some(Err(seen)) => seen.as_str(),
                    None => "missing: it did not run",
                };
                faults.push(format!("{} at the {}: {seen}", row.name, place.title()));
            }
        }
        faults
    }

    /// As Markdown, with what waits below.
    pub(crate) fn table(&self) -> String {
        let titles = Place::ALL.map(Place::title).join(" | ");
        let mut text = format!("| row | what | {titles} |\n|---|---|---|---|---|---|\n");
        for row in sorted() {
            let cell = |place| match self.cells.get(&(row.number(), place)) {
                Some(Ok(())) => "ok",
                Some(Err(_)) => "FAILED",
                None => "MISSING",
            };
            let cells = Place::ALL.map(cell).join(" | ");
            let what = row.name[8..].replace('_', " ");
            let _ = writeln!(text, "| {} | {what} | {cells} |", row.number());
        }
        text.push_str("\n| row | waits for | until |\n|---|---|---|\n");
        for waiting in WAITING {
            let _ = writeln!(text, "| {} | {} | {} |", waiting.row, waiting.lacks, waiting.until);
        }
        text
    }
}

fn sorted() -> Vec<Row> {
    let mut rows: Vec<Row> = all().collect();
    rows.sort_by_key(|row| row.number());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_is_a_fault() {
        let mut matrix = Matrix::default();
        let rows = sorted();
        assert_eq!(matrix.faults().len(), rows.len() * Place::ALL.len());
        for row in &rows {
            for place in Place::ALL {
                matrix.note(*row, place, Ok(()));
            }
        }
        assert!(matrix.faults().is_empty());
        assert!(!matrix.table().contains("MISSING"));
        matrix.note(rows[0], Place::Leader, Err("seen".into()));
        assert_eq!(matrix.faults(), [format!("{} at the leader: seen", rows[0].name)]);
        assert!(matrix.table().contains("FAILED"));
    }
}
