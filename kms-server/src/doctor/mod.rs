//! `kms-server doctor`: looks at everything that an installation stands on and says what is wrong and what to do. It runs
//! beside a server, and changes nothing: the database is opened to read, in the token only a session's own key is made.

mod database;
mod disk;
mod files;
mod finding;
mod token;

use std::{path::Path, sync::Arc};

pub use self::finding::{Finding, Level, Report};
use crate::{config::Config, model::Clock};

/// Looks at everything that can be looked at. What is found broken does not hide the rest.
pub async fn examine(config_file: &Path, config: &Config, clock: Arc<dyn Clock>) -> Report {
    let mut report = Report::default();
    files::look(config_file, config, clock.now(), &mut report);
    disk::look(config, &mut report);
    let store = database::look(config, &mut report).await;
    token::look(config, clock, store.as_ref(), &mut report).await;
    if let Some(store) = store {
        store.close().await;
    }
    report
}
