//! With all rules, no configuration has a run in which an old answer is released after the receipt.

use revocation_model::{Configuration, NO_OLD_ANSWER, Protocol, Rules, story};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const README: &str = include_str!("../README.md");

/// Two threads: what continuous integration has. What is returned is the beginning of the search's row in README.md.
fn holds(configuration: Configuration) -> String {
    let protocol = Protocol::new(configuration, Rules::all());
    let search = protocol.clone().checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    if let Some(path) = search.discovery(NO_OLD_ANSWER) {
        panic!("{}: an old answer is released\n{}", configuration.name, story(path));
    }
    assert!(search.is_done(), "{}: the search has not ended", configuration.name);
    // A search in which the interesting things never happen shows nothing.
    for property in protocol.properties() {
        if matches!(property.expectation, Expectation::Sometimes) {
            assert!(search.discovery(property.name).is_some(), "{}: never: {}", configuration.name, property.name);
        }
    }
    let row = format!("| {} | {} |", configuration.name, thousands(search.unique_state_count()));
    println!("{row}");
    row
}

fn assert_in_readme(row: &str) {
    assert!(README.contains(row), "the table in README.md is of another model: `{row}` is not in it");
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

/// `cargo test -p revocation-model --test all_rules -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes: for when the protocol changes"]
fn wide() {
    let rows = Configuration::WIDE.map(holds);
    for row in &rows {
        assert_in_readme(row);
    }
}

macro_rules! searches {
    ($($test:ident: $configuration:ident,)*) => {
        $(
            #[test]
            fn $test() {
                assert_in_readme(&holds(Configuration::$configuration));
            }
        )*

        #[test]
        fn every_configuration_is_searched() {
            let searched = [$(Configuration::$configuration.name),*];
            assert_eq!(searched.to_vec(), Configuration::EACH.map(|each| each.name).to_vec());
        }
    };
}

searches! {
    one_change: ONE_CHANGE,
    two_changes: TWO_CHANGES,
    both_serve: BOTH_SERVE,
    join_and_leave: JOIN_AND_LEAVE,
    expulsion: EXPULSION,
    late_requests: LATE_REQUESTS,
    three_nodes: THREE_NODES,
    three_nodes_one_joins: THREE_NODES_ONE_JOINS,
}
