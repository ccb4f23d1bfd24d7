//! From each kill of a leader to the first write that was acknowledged after it, as a distribution.

use std::path::Path;

use plotters::prelude::*;

use super::canvas::{FAINT, INK, LINES, SIZE, Table, caption, label};

/// Draws the times in `csv`.
pub(super) fn draw(csv: &Path, svg: &Path) -> anyhow::Result<()> {
    let mut ms = Table::read(csv)?.numbers(COLUMN)?;
    anyhow::ensure!(!ms.is_empty(), "{} has no rows", csv.display());
    ms.sort_by(f64::total_cmp);
    let steps = steps(&ms);
    let end = ms[ms.len() - 1] * 1.1;

    let area = SVGBackend::new(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("Outage at {} kills of the leader under load", ms.len());
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .caption(title, caption())
        .x_label_area_size(34)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..end, 0.0..100.0)?;
    chart
        .configure_mesh()
        .x_desc("milliseconds from the kill to the first acknowledged write")
        .y_desc("% of kills at most")
        .axis_style(INK)
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .label_style(label())
        .draw()?;
    chart.draw_series(LineSeries::new(steps, LINES[0].stroke_width(2)))?;
    for percent in [50.0, 99.0] {
        let at = quantile(&ms, percent);
        let line = [(at, 0.0), (at, percent)];
        chart.draw_series(LineSeries::new(line, LINES[1].stroke_width(1)))?;
        let text = format!("p{percent:.0} {at:.0} ms");
        chart.draw_series([Text::new(text, (at + end / 200.0, percent - 4.0), label())])?;
    }
    Ok(area.present()?)
}

/// The corners of the distribution of sorted values.
fn steps(sorted: &[f64]) -> Vec<(f64, f64)> {
    let share = |count: usize| 100.0 * count as f64 / sorted.len() as f64;
    let corners = sorted.iter().enumerate();
    let corners = corners.flat_map(|(i, &at)| [(at, share(i)), (at, share(i + 1))]);
    [(0.0, 0.0)].into_iter().chain(corners).collect()
}

/// The least value that so many percent do not exceed.
fn quantile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

const COLUMN: &str = "outage_ms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks() {
        let sorted: Vec<f64> = (1..=50).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 50.0), 25.0);
        assert_eq!(quantile(&sorted, 99.0), 50.0);
        assert_eq!(quantile(&[7.0], 50.0), 7.0);
    }

    #[test]
    fn a_plot_is_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let (csv, svg) = (folder.path().join("a.csv"), folder.path().join("a.svg"));
        std::fs::write(&csv, format!("kill,{COLUMN}\n1,900\n2,1100.5\n")).expect("written");
        draw(&csv, &svg).expect("drawn");
        let drawn = std::fs::read_to_string(&svg).expect("read");
        assert!(drawn.contains("p99 1100 ms"), "{drawn}");
    }
}
