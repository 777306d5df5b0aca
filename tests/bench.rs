//! `./dev bench` works: a small run, whatever its numbers.

#[path = "../benches/bench/mod.rs"]
mod bench;

use bench::{BENCHES, Scale, run, table};

#[test]
fn a_small_run_measures_everything() {
    let all: Vec<String> = BENCHES.iter().map(|bench| bench.name.to_owned()).collect();
    let rows = run(&all, &Scale::QUICK);
    let text = table::text(&rows);
    println!("{text}");
    let json = table::json(&rows);
    let rows = json.as_array().expect("an array");
    assert!(rows.len() > 15, "{text}");
    for row in rows {
        let value = row["value"].as_f64().unwrap_or(0.0);
        assert!(value > 0.0, "{row}");
    }
}
