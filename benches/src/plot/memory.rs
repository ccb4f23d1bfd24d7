//! Anonymous memory of three nodes over a `big-state` run.

use std::path::Path;

use anyhow::Context;
use plotters::prelude::*;

use super::canvas::{BAND, FAINT, INK, LINES, SIZE, Table, caption, label};

/// Consecutive samples of one phase.
struct Phase<'a> {
    name: &'a str,
    from: f64,
    to: f64,
}

/// Draws the samples in `csv`.
pub(super) fn draw(csv: &Path, svg: &Path) -> anyhow::Result<()> {
    let table = Table::read(csv)?;
    let seconds = table.numbers("seconds")?;
    let nodes = table.numbers("node")?;
    let mib: Vec<f64> = table.numbers("anonymous_kib")?.iter().map(|kib| kib / 1024.0).collect();
    let phases = phases(&seconds, &table.texts("phase")?);
    let end = *seconds.last().context("no samples")?;
    let top = mib.iter().copied().fold(0.0, f64::max) * 1.15 + 32.0;

    let area = SVGBackend::new(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .caption("Anonymous memory of three nodes while a big state moves", caption())
        .x_label_area_size(34)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    for (number, phase) in phases.iter().enumerate() {
        let shade = if number % 2 == 0 { BAND } else { WHITE };
        let corners = [(phase.from, 0.0), (phase.to, top)];
        chart.draw_series([Rectangle::new(corners, shade.filled())])?;
    }
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("MiB")
        .axis_style(INK)
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .label_style(label())
        .draw()?;
    let style = label().transform(FontTransform::Rotate90);
    for phase in phases.iter().filter(|phase| phase.to - phase.from > end / 60.0) {
        let at = (phase.from + end / 80.0, top * 0.99);
        chart.draw_series([Text::new(phase.name.to_owned(), at, style.clone())])?;
    }
    for (node, colour) in LINES.iter().enumerate() {
        let number = (node + 1) as f64;
        for piece in pieces(&seconds, &mib, &nodes, number) {
            chart.draw_series(LineSeries::new(piece, colour.stroke_width(2)))?;
        }
        // Its place in the legend.
        chart
            .draw_series(LineSeries::new([], colour.stroke_width(2)))?
            .label(format!("node-{number}"))
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(FAINT)
        .label_font(label())
        .draw()?;
    Ok(area.present()?)
}

fn phases<'a>(seconds: &[f64], names: &[&'a str]) -> Vec<Phase<'a>> {
    let mut phases: Vec<Phase<'a>> = Vec::new();
    for (&at, &name) in seconds.iter().zip(names) {
        match phases.last_mut() {
            Some(phase) if phase.name == name => phase.to = at,
            last => {
                if let Some(phase) = last {
                    phase.to = at;
                }
                phases.push(Phase { name, from: at, to: at });
            }
        }
    }
    phases
}

/// The curve of one node, in pieces where it did not run.
fn pieces(seconds: &[f64], mib: &[f64], nodes: &[f64], node: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let of_node = nodes.iter().zip(seconds.iter().zip(mib)).filter(|(at, _)| **at == node);
    for (_, (&at, &mib)) in of_node {
        match pieces.last_mut() {
            Some(piece) if piece.last().is_some_and(|(last, _)| at - last < PAUSE_SECONDS) => {
                piece.push((at, mib));
            }
            _ => pieces.push(vec![(at, mib)]),
        }
    }
    pieces
}

/// Without samples for this long a node was down.
const PAUSE_SECONDS: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let (csv, svg) = (folder.path().join("a.csv"), folder.path().join("a.svg"));
        let text = "seconds,phase,node,anonymous_kib,resident_kib,peak_kib\n\
                    0.0,fill,1,1024,2048,2048\n0.1,fill,1,2048,2048,2048\n9.0,build,1,4096,1,1\n\
                    9.6,build,1,4096,1,1\n";
        std::fs::write(&csv, text).expect("written");
        draw(&csv, &svg).expect("drawn");
        let drawn = std::fs::read_to_string(&svg).expect("read");
        assert!(drawn.contains("polyline") && drawn.contains("build"), "{drawn}");
    }

    #[test]
    fn a_stopped_node_leaves_a_hole() {
        let nodes = [1.0, 2.0, 1.0, 1.0];
        let found = pieces(&[0.0, 0.0, 0.1, 5.0], &[1.0; 4], &nodes, 1.0);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
