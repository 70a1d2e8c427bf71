//! The straight line, for one operation or a batch: every item is asked, permitted, carried out, sealed and released on
//! its own, and all of them see one snapshot.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;

use super::{Service, SharedContext};
use crate::{
    authn::{Caller, Intent, Request},
    cluster::Snapshot,
    gate::{Answer, Asked, Attempt, Decision, Facts, Refused, Released, Unaudited},
    model::{Action, Error, Target},
    policy::{self, Permit, Policies},
};

/// Who asks, and in which request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// In which request.
    pub request: Arc<Request>,
}

/// What becomes of one operation.
pub type Outcome<T> = Result<Released<Answer<T>>, Refused>;

/// What becomes of a batch: each item for itself, unless nothing could be recorded or released.
pub type Outcomes<T> = Result<Released<Vec<Result<Answer<T>, Refused>>>, Refused>;

/// An item of a batch as its surface understood it, or why it could not: that too is recorded, in the item's place.
pub type Understood<T> = Result<T, Error>;

/// One request on its way.
#[derive(Debug)]
pub(super) struct Line<'a> {
    service: &'a Service,
    call: &'a Call,
    pub(super) snapshot: Arc<Snapshot<Policies>>,
    pub(super) now: Timestamp,
}

/// One item that was asked, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Step<W> {
    pub(super) asked: Vec<Asked>,
    pub(super) work: Result<W, Error>,
}

impl Call {
    /// Where the request came from.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.request.source
    }
}

impl Service {
    pub(super) fn line<'a>(&'a self, call: &'a Call) -> Line<'a> {
        let cluster = self.cluster();
        Line { service: self, call, snapshot: cluster.snapshot(), now: cluster.now() }
    }

    /// Looked at first where an answer costs a look into the database, so that nobody without the right costs that.
    pub(super) fn may(&self, call: &Call, action: Action) -> bool {
        self.may_on(call, action, Target::Installation)
    }

    /// The same, where it costs one for some target.
    pub(super) fn may_on(&self, call: &Call, action: Action, target: Target) -> bool {
        let line = self.line(call);
        let intent = line.intent(0, action, target, None);
        policy::authorise(&line.snapshot, line.now, &intent).is_ok()
    }

    /// Reads something of the snapshot that policy allows this caller to read.
    pub(super) async fn read<T>(
        &self,
        call: &Call,
        action: Action,
        target: Target,
        read: impl FnOnce(&Line<'_>) -> Result<T, Error>,
    ) -> Outcome<T> {
        self.read_with(call, action, target, Facts::default(), read).await
    }

    /// The same, with more for the record to say.
    pub(super) async fn read_with<T>(
        &self,
        call: &Call,
        action: Action,
        target: Target,
        facts: Facts,
        read: impl FnOnce(&Line<'_>) -> Result<T, Error>,
    ) -> Outcome<T> {
        let line = self.line(call);
        let mut step = tracing::trace_span!(target: "keyward::trace", "policy")
            .in_scope(|| line.ask(0, action, target, None, facts, |_| Ok(())));
        let result = std::mem::replace(&mut step.work, Ok(())).and_then(|()| read(&line));
        self.gate().release_one(&line.snapshot, Attempt { asked: step.asked, result: result.map(Unaudited::new) }).await
    }
}

impl Line<'_> {
    pub(super) fn intent(&self, item: usize, action: Action, target: Target, context: Option<SharedContext>) -> Intent {
        let intent = self.call.caller.intends(&self.call.request, action, target);
        Intent { item: super::count(item), context, ..intent }
    }

    /// Asks policy, and on its permit prepares the work.
    pub(super) fn ask<W>(
        &self,
        item: usize,
        action: Action,
        target: Target,
        context: Option<SharedContext>,
        facts: Facts,
        prepare: impl FnOnce(&Permit) -> Result<W, Error>,
    ) -> Step<W> {
        let intent = self.intent(item, action, target, context);
        match policy::authorise(&self.snapshot, self.now, &intent) {
            Ok(permit) => {
                let work = prepare(&permit);
                Step { asked: vec![Asked { intent, decision: Decision::Permitted(permit), facts }], work }
            }
            Err(denial) => {
                let work = Err(denial.error.again());
                Step { asked: vec![Asked { intent, decision: Decision::Denied(denial), facts }], work }
            }
        }
    }

    /// Takes the items in hand, those that could be understood and those that could not.
    pub(super) fn steps<I, W>(
        &self,
        action: Action,
        items: Vec<Understood<I>>,
        step: impl Fn(usize, I) -> Step<W>,
    ) -> Vec<Step<W>> {
        let _span = tracing::trace_span!(target: "keyward::trace", "policy", items = items.len()).entered();
        let taken = items.into_iter().enumerate().map(|(index, item)| match item {
            Ok(item) => step(index, item),
            Err(error) => self.meaningless(index, action, Facts::default(), error),
        });
        taken.collect()
    }

    /// An item that means nothing: policy is not asked, the record is written all the same.
    pub(super) fn meaningless<W>(&self, item: usize, action: Action, facts: Facts, error: Error) -> Step<W> {
        let intent = self.intent(item, action, Target::Installation, None);
        Step { asked: vec![Asked { intent, decision: Decision::Meaningless, facts }], work: Err(error) }
    }

    /// Seals what came of the steps, in their order, and releases it.
    pub(super) async fn release<T>(&self, asked: Vec<Vec<Asked>>, results: Vec<Result<T, Error>>) -> Outcomes<T> {
        let attempts = asked
            .into_iter()
            .zip(results)
            .map(|(asked, result)| Attempt { asked, result: result.map(Unaudited::new) })
            .collect();
        self.service.gate().release(&self.snapshot, attempts).await
    }
}

impl<W> Step<W> {
    /// Adds to what the record will say.
    pub(super) fn facts(&mut self, add: impl Fn(&mut Facts)) {
        for asked in &mut self.asked {
            add(&mut asked.facts);
        }
    }
}

/// Parts the questions from the work.
pub(super) fn part<W>(steps: Vec<Step<W>>) -> (Vec<Vec<Asked>>, Vec<Result<W, Error>>) {
    steps.into_iter().map(|step| (step.asked, step.work)).unzip()
}

/// Carries out in one go the work there is, and puts each result in its item's place.
pub(super) async fn carry_out<W, T>(
    work: Vec<Result<W, Error>>,
    all: impl AsyncFnOnce(Vec<W>) -> Result<Vec<Result<T, Error>>, Error>,
) -> Vec<Result<T, Error>> {
    let mut places = Vec::with_capacity(work.len());
    let mut ready = Vec::with_capacity(work.len());
    for item in work {
        places.push(item.map(|work| ready.push(work)));
    }
    if ready.is_empty() {
        return places.into_iter().map(|place| place.and_then(|()| Err(nothing_done()))).collect();
    }
    match all(ready).await {
        Ok(results) => {
            let mut results = results.into_iter();
            places
                .into_iter()
                .map(|place| place.and_then(|()| results.next().unwrap_or_else(|| Err(nothing_done()))))
                .collect()
        }
        Err(error) => places.into_iter().map(|place| place.and_then(|()| Err(error.again()))).collect(),
    }
}

fn nothing_done() -> Error {
    Error::internal("an item without a result")
}
