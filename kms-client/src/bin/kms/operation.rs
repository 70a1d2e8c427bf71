//! `kms operation`: changes that were asked for with `--no-wait`.

use std::time::Duration;

use clap::Subcommand;
use kms_client::{
    client::Client,
    id::ChangeId,
    wire::operation::{Operation, OperationAnswer, OperationState},
};

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, text, time},
};

/// The first pause between two questions; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what became of a change
    #[command(after_help = "Example:\n  kms operation get 019abcde-0000-7000-8000-000000000000")]
    Get {
        /// The operation: the change id that `--no-wait` printed
        operation: ChangeId,
    },
    /// Wait until a change is made or has failed
    #[command(
        after_help = "It fails when the change failed.\n\nExample:\n  kms operation wait 019abcde-0000-7000-8000-000000000000"
    )]
    Wait {
        /// The operation: the change id that `--no-wait` printed
        operation: ChangeId,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Get { operation } => output.print(&client.operation(operation).await?, show_answer),
        Command::Wait { operation } => {
            let answer = wait(client, operation).await?;
            output.print(&answer, show_answer)?;
            answer
                .operation
                .problem
                .map_or(Ok(()), |problem| Err(Failure::Client(kms_client::client::Error::Problem(Box::new(problem)))))
        }
    }
}

async fn wait(client: &Client, operation: ChangeId) -> Result<OperationAnswer, Failure> {
    let mut pause = FIRST;
    loop {
        let answer = client.operation(operation).await?;
        match answer.operation.state {
            OperationState::Succeeded | OperationState::Failed => return Ok(answer),
            OperationState::Running | OperationState::Unknown => {}
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST);
    }
}

fn show_answer(answer: &OperationAnswer) -> String {
    show(&answer.operation)
}

pub(crate) fn show(operation: &Operation) -> String {
    let shown = fields([
        ("operation", operation.change_id.to_string()),
        ("kind", operation.kind.clone()),
        ("principal", operation.principal.to_string()),
        ("state", operation.state.to_string()),
        ("accepted", time(operation.accepted_at)),
        ("finished", text(operation.finished_at.map(time))),
        ("problem", text(operation.problem.as_ref().map(|problem| format!("{}: {}", problem.code, problem.detail)))),
    ]);
    operation.change.as_ref().map_or(shown.clone(), |change| shown + &receipt(&change.receipt))
}

#[expect(clippy::disallowed_methods, reason = "a pause between two questions is what is wanted")]
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}
