//! `conclave-sim`: runs seeds, and says how to replay the one that failed.

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use conclave_sim::{Campaign, Outcome, Plant, Report, Run};

/// Runs a whole cluster in one thread under one seed, many times.
#[derive(Parser)]
#[command(name = "conclave-sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Runs one seed, twice, and compares.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Prints what happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Puts a bug in.
    #[arg(long)]
    plant: Option<Plant>,
    /// Succeeds only where some seed finds the planted bug.
    #[arg(long, requires = "plant")]
    expect_found: bool,
}

/// A campaign of fewer seeds may miss a kind of fault by chance.
const SEEDS_FOR_COVERAGE: u64 = 150;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let good = match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => campaign(&arguments),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One seed, twice.
fn replay(seed: u64, arguments: &Arguments) -> bool {
    let run = Run { seed, plant: arguments.plant, keep_lines: arguments.trace };
    let outcome = run.run();
    outcome.lines.iter().for_each(|line| println!("{line}"));
    println!("coverage: {}", outcome.coverage);
    let same = is_repeatable(&outcome, run);
    tell_failure(&outcome, arguments.plant);
    let failed = outcome.violation.is_some() || !same;
    println!("sim: {} passed, {} failed", u64::from(!failed), u64::from(failed));
    if arguments.expect_found { outcome.violation.is_some() && same } else { !failed }
}

/// Runs it again and compares.
fn is_repeatable(first: &Outcome, run: Run) -> bool {
    let second = Run { keep_lines: false, ..run }.run();
    println!("seed {}: trace hash {:016x}", first.seed, first.trace_hash);
    println!("seed {}: trace hash {:016x}, run again", second.seed, second.trace_hash);
    if first.trace_hash == second.trace_hash {
        return true;
    }
    println!("seed {}: two runs differ: something in them is not simulated", first.seed);
    false
}

fn campaign(arguments: &Arguments) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let plan = Campaign {
        first: arguments.from,
        count: arguments.seeds,
        plant: arguments.plant,
        stop_at_failure: arguments.expect_found,
        threads,
    };
    let clock = conclave_server::system::ports().clock;
    let began = clock.monotonic();
    let report = plan.run(&|outcome| tell_failure(outcome, arguments.plant));
    let elapsed = clock.monotonic().saturating_sub(began);
    let run = Run { seed: arguments.from, plant: arguments.plant, keep_lines: false };
    let same = is_repeatable(&run.run(), run);
    let covered = tell_coverage(&report, elapsed, arguments);
    if let (true, Some(plant)) = (arguments.expect_found, arguments.plant) {
        return tell_found(&report, plant) && same;
    }
    let failed = report.failures.len() as u64;
    println!("sim: {} passed, {failed} failed", report.ran - failed);
    failed == 0 && same && covered
}

fn tell_failure(outcome: &Outcome, plant: Option<Plant>) {
    let Some(violation) = &outcome.violation else { return };
    let seed = outcome.seed;
    let plant = plant.map_or(String::new(), |plant| format!(" --plant {}", plant.name()));
    println!(
        "seed {seed} violates: {violation}\n  replay: cargo xtask sim --seed {seed} --trace{plant}"
    );
}

fn tell_coverage(report: &Report, elapsed: Duration, arguments: &Arguments) -> bool {
    let seconds = elapsed.as_secs_f64();
    println!("coverage: {}", report.coverage);
    println!("power cuts of all machines: {}", report.coverage.cuts());
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_second = report.ran as f64 / seconds.max(0.001);
    println!(
        "throughput: {} seeds in {seconds:.1} s, {per_second:.2} seeds/s, {:.0} s of virtual time",
        report.ran, report.virtual_s
    );
    let missing = report.coverage.missing();
    if arguments.plant.is_some() || report.ran < SEEDS_FOR_COVERAGE || missing.is_empty() {
        return true;
    }
    println!("this campaign is void, it had no {}", missing.join(", no "));
    false
}

fn tell_found(report: &Report, plant: Plant) -> bool {
    let name = plant.name();
    match report.failures.first() {
        Some(outcome) => {
            println!(
                "planted bug {name}: found by seed {} after {} seeds",
                outcome.seed, report.ran
            );
        }
        None => println!("planted bug {name}: not found by {} seeds", report.ran),
    }
    let found = !report.failures.is_empty();
    println!("sim: {} passed, {} failed", report.ran, u64::from(!found));
    found
}
