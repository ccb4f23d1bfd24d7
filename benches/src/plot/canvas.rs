//! What all plots share: size, fonts, colours, and a table read from CSV.

use std::path::Path;

use anyhow::Context;
use plotters::style::{RGBColor, TextStyle};

/// Pixels.
pub(super) const SIZE: (u32, u32) = (960, 420);
pub(super) const INK: RGBColor = RGBColor(60, 60, 60);
pub(super) const FAINT: RGBColor = RGBColor(225, 225, 225);
pub(super) const BAND: RGBColor = RGBColor(240, 244, 250);
/// A line each; told apart without colour vision too.
pub(super) const LINES: [RGBColor; 3] =
    [RGBColor(0, 90, 181), RGBColor(220, 50, 32), RGBColor(0, 140, 100)];

pub(super) fn caption() -> TextStyle<'static> {
    TextStyle::from(("sans-serif", 16)).color(&INK)
}

pub(super) fn label() -> TextStyle<'static> {
    TextStyle::from(("sans-serif", 11)).color(&INK)
}

/// Rows under a line of column names. No field holds a comma.
pub(super) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        Self::parse(&text).with_context(|| format!("{} is no such table", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let split = |line: &str| line.split(',').map(|field| field.trim().to_owned()).collect();
        let mut lines =
            text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let columns: Vec<String> = split(lines.next().context("it is empty")?);
        let rows: Vec<Vec<String>> = lines.map(split).collect();
        anyhow::ensure!(rows.iter().all(|row| row.len() == columns.len()), "a row is cut");
        Ok(Self { columns, rows })
    }

    /// The fields of one column.
    pub(super) fn texts(&self, name: &str) -> anyhow::Result<Vec<&str>> {
        let at = self.columns.iter().position(|column| column == name);
        let at = at.with_context(|| format!("no column {name:?}"))?;
        Ok(self.rows.iter().map(|row| row[at].as_str()).collect())
    }

    /// The numbers of one column.
    pub(super) fn numbers(&self, name: &str) -> anyhow::Result<Vec<f64>> {
        let texts = self.texts(name)?;
        let parsed: Result<_, _> = texts.iter().map(|text| text.parse::<f64>()).collect();
        parsed.with_context(|| format!("column {name:?} holds something else than numbers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = Table::parse("# taken then\na,b\n1,x\n2.5,y\n").expect("a table");
        assert_eq!(table.numbers("a").expect("numbers"), [1.0, 2.5]);
        assert_eq!(table.texts("b").expect("texts"), ["x", "y"]);
        assert!(table.numbers("b").is_err());
        assert!(table.texts("c").is_err());
        assert!(Table::parse("a,b\n1\n").is_err());
    }
}
