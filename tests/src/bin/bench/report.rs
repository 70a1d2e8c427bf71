//! What is printed and written.

use std::path::Path;

use keyward_tests::Backend;
use serde_json::{Map, Value, json};

use super::{
    Result,
    load::{Figures, Pace},
    machine,
    raw::Rate,
};

/// Everything that was found.
pub struct Report {
    /// A section for each database.
    pub sections: Vec<Section>,
}

/// What was found on one database.
pub struct Section {
    /// The database.
    pub backend: Backend,
    /// Raw decryption, before and after.
    pub raw: [Rate; 2],
    /// The figures, in their order.
    pub rows: Vec<Row>,
}

/// One line of the table.
pub struct Row {
    /// What was asked for.
    pub name: &'static str,
    /// How many items one request has.
    pub items: usize,
    /// How many connections asked at once.
    pub connections: usize,
    /// What was found.
    pub figures: Figures,
}

/// Says what is measured, and where.
pub fn conditions(folder: &Path, pace: &Pace) -> Result<()> {
    let kind = machine::file_system(folder)?;
    let warning = if kind == "tmpfs" { ": IN MEMORY, SO NOTHING IS DURABLE" } else { "" };
    println!("machine         {}; the load runs on the same one, on one thread", machine::processors());
    println!("data            {} ({kind}{warning})", folder.display());
    println!("requests        TLS 1.3 with client certificates, keep-alive; 32-byte data keys, 2 pairs of context");
    println!(
        "server          a process of the release build, its defaults: policy, durable audit, SoftHSM, its log to a file"
    );
    println!(
        "each figure     {:.1} s after {:.1} s of warming up",
        pace.measured.as_secs_f64(),
        pace.warm_up.as_secs_f64()
    );
    println!();
    Ok(())
}

/// Says what the HSM does by itself.
pub fn raw(when: &str, Rate { ops, cpu_us }: Rate) {
    println!("raw C_Decrypt, one thread, {when:<6} {ops:>9.0}/s, {cpu_us:.1} us CPU each");
}

/// Begins a table.
pub fn heading(backend: Backend) {
    println!();
    println!(
        "{:<14}{:>6}{:>10}{:>10}{:>10}{:>12}{:>10}{:>12}{:>8}",
        name(backend),
        "conns",
        "ops/s",
        "p50 ms",
        "p99 ms",
        "server us",
        "load us",
        "others",
        "raw"
    );
}

impl Row {
    /// Items per second.
    pub fn ops(&self) -> f64 {
        self.figures.rate * self.items_as_f64()
    }

    /// One line of the table. Of a batch, operations and processor time are those of its items.
    pub fn print(&self, raw: f64) {
        let Figures { p50_ms, p99_ms, elsewhere, .. } = self.figures;
        println!(
            "{:<14}{:>6}{:>10.0}{p50_ms:>10.2}{p99_ms:>10.2}{:>12.1}{:>10.1}{:>12}{:>8.2}",
            self.name,
            self.connections,
            self.ops(),
            self.cpu_us(),
            self.figures.load_us / self.items_as_f64(),
            format!("{elsewhere:.1} cores"),
            self.ops() / raw,
        );
    }

    fn cpu_us(&self) -> f64 {
        self.figures.cpu_us / self.items_as_f64()
    }

    fn items_as_f64(&self) -> f64 {
        f64::from(u32::try_from(self.items).unwrap_or(u32::MAX))
    }

    fn json(&self, raw: f64) -> Value {
        let Figures { p50_ms, p99_ms, elsewhere, .. } = self.figures;
        json!({
            "ops": self.ops().round(), "p50_ms": thousandths(p50_ms), "p99_ms": thousandths(p99_ms),
            "cpu_us": thousandths(self.cpu_us()), "ratio": thousandths(self.ops() / raw),
            "elsewhere_cores": thousandths(elsewhere),
        })
    }
}

impl Section {
    fn raw(&self) -> f64 {
        f64::midpoint(self.raw[0].ops, self.raw[1].ops)
    }

    fn json(&self) -> Map<String, Value> {
        let of = |name: &str| {
            let rows = self.rows.iter().filter(|row| row.name == name);
            rows.map(|row| (format!("c{}", row.connections), row.json(self.raw()))).collect::<Map<_, _>>()
        };
        let mut batch = of(BATCH);
        let items: Vec<_> = self.rows.iter().filter(|row| row.name == BATCH).map(Row::ops).collect();
        batch.insert("items".to_owned(), items.into_iter().fold(0.0, f64::max).round().into());
        let [before, after] = self.raw.map(|rate| rate.ops.round());
        let cpu_us = thousandths(f64::midpoint(self.raw[0].cpu_us, self.raw[1].cpu_us));
        let raw = json!({ "decrypt": self.raw().round(), "before": before, "after": after, "cpu_us": cpu_us });
        [("raw", raw), ("unwrap", of(UNWRAP).into()), ("generate", of(GENERATE).into()), ("batch100", batch.into())]
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }

    fn line(&self) -> String {
        let rates = |name: &str| {
            let rows = self.rows.iter().filter(|row| row.name == name);
            rows.map(|row| format!("{:.0}", row.ops())).collect::<Vec<_>>().join("/")
        };
        let widest = self.rows.iter().filter(|row| row.name == UNWRAP).max_by_key(|row| row.connections);
        let (ratio, cpu) = widest.map_or((0.0, 0.0), |row| (row.ops() / self.raw(), row.cpu_us()));
        format!(
            "{}: raw {:.0}/s, unwrap {}/s ({ratio:.2} of raw, {cpu:.0} us CPU), generate {}/s, batch {} items/s",
            name(self.backend),
            self.raw(),
            rates(UNWRAP),
            rates(GENERATE),
            rates(BATCH),
        )
    }
}

impl Report {
    /// All figures.
    pub fn json(&self) -> Value {
        let mut all = Map::new();
        for section in &self.sections {
            match section.backend {
                Backend::Sqlite => all.extend(section.json()),
                Backend::Postgres => _ = all.insert("postgres".to_owned(), section.json().into()),
            }
        }
        all.into()
    }

    /// Ends the run on one line.
    pub fn print(&self) {
        println!();
        println!(
            "server us: CPU of the server process per operation; load us: the load's own; others: what else was busy,"
        );
        println!("PostgreSQL included; raw: operations per raw C_Decrypt. A batch is counted by its items.");
        println!("{}", self.sections.iter().map(Section::line).collect::<Vec<_>>().join("; "));
    }
}

const fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "SQLite",
        Backend::Postgres => "PostgreSQL",
    }
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// What a row of unwraps is called.
pub const UNWRAP: &str = "unwrap";
/// What a row of generations is called.
pub const GENERATE: &str = "generate";
/// What a row of batches is called.
pub const BATCH: &str = "unwrap x 100";
