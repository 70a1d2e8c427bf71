//! Each rule left out, in a configuration that holds with it: the search finds a run that breaks the promise. The shortest
//! ones are kept in `snapshots/`, to be read.

use revocation_model::{Configuration, NO_OLD_ANSWER, Protocol, Rule, Rules, story};
use stateright::{Checker, HasDiscoveries, Model};

/// The rule's counterexample. One thread, so that it is the first of the shortest whenever it is looked for.
fn breaks(rule: Rule, configuration: Configuration) -> String {
    assert!(Configuration::EACH.iter().any(|each| each.name == configuration.name), "searched with all rules too");
    let search = Protocol::new(configuration, Rules::without(rule))
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = search.discovery(NO_OLD_ANSWER);
    let path = path.unwrap_or_else(|| panic!("without {rule:?}, in `{}`: nothing breaks", configuration.name));
    let story = story(path);
    println!("without {rule:?}, in `{}`, after {} states:\n{story}", configuration.name, search.unique_state_count());
    story
}

macro_rules! counterexamples {
    ($($test:ident: $rule:ident in $configuration:ident,)*) => {
        $(
            #[test]
            fn $test() {
                insta::assert_snapshot!(breaks(Rule::$rule, Configuration::$configuration));
            }
        )*

        #[test]
        fn every_rule_is_left_out_once() {
            assert_eq!(Rule::EACH.to_vec(), [$(Rule::$rule),*].to_vec());
        }
    };
}

counterexamples! {
    apply_before_counting: ApplyBeforeCounting in ONE_CHANGE,
    drain_before_counting: DrainBeforeCounting in ONE_CHANGE,
    count_from_the_send: CountFromTheSend in BOTH_SERVE,
    margin: Margin in ONE_CHANGE,
    lease_at_the_gate: LeaseAtTheGate in ONE_CHANGE,
    drain_before_acknowledging: DrainBeforeAcknowledging in THREE_NODES,
    enter_before_reading: EnterBeforeReading in ONE_CHANGE,
    authorise_anew: AuthoriseAnew in ONE_CHANGE,
    register_before_loading: RegisterBeforeLoading in JOIN_AND_LEAVE,
    waiters_own_clock: WaitersOwnClock in ONE_CHANGE,
    counter_row: CounterRow in TWO_CHANGES,
    kill_timer: KillTimer in ONE_CHANGE,
    drain_before_disarming: DrainBeforeDisarming in ONE_CHANGE,
    drain_before_leaving: DrainBeforeLeaving in JOIN_AND_LEAVE,
    list_after_the_commit: ListAfterTheCommit in JOIN_AND_LEAVE,
    expel_after_a_lease: ExpelAfterALease in EXPULSION,
    expel_unchanged: ExpelUnchanged in EXPULSION,
    counts_never_repeat: CountsNeverRepeat in EXPULSION,
}
