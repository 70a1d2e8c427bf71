//! What a change would do, shown before it is made: `kms policy preview` and `kms change preview`.

use kms_client::{
    client::Client,
    wire::preview::{Preview, PreviewChange, PreviewedChange},
};

use crate::{
    failure::Failure,
    output::{Output, fields, table, text, time},
};

pub(crate) async fn run(change: PreviewedChange, days: u32, client: &Client, output: Output) -> Result<(), Failure> {
    let preview = client.preview(&PreviewChange { change, days: Some(days) }).await?;
    output.print(&preview, show)
}

fn show(preview: &Preview) -> String {
    let more = |truncated: bool| if truncated { " or more" } else { "" };
    let (past, effects) = (&preview.past, preview.effects.iter());
    let summary = fields([
        ("effects", format!("{}{}", preview.effects_total, more(preview.effects_truncated))),
        ("past operations", format!("{}{}", past.examined, more(past.truncated))),
        ("  refused", past.refused.to_string()),
        ("  undetermined", past.undetermined.to_string()),
        ("revision", preview.revision.to_string()),
    ]);
    let effects = table(
        ["principal", "action", "key", "class", "now", "afterwards"],
        effects.map(|effect| {
            [
                effect.name.to_string(),
                effect.action.to_string(),
                text(effect.key),
                text(effect.data_class.as_ref()),
                effect.before.to_string(),
                effect.after.to_string(),
            ]
        }),
    );
    let refused = table(
        ["would have been refused to", "action", "key", "times", "last"],
        past.by.iter().map(|kind| {
            [
                kind.principal.to_string(),
                kind.action.to_string(),
                kind.key.to_string(),
                kind.count.to_string(),
                time(kind.last),
            ]
        }),
    );
    format!("{summary}\n{effects}\n{refused}")
}
