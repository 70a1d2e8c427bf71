//! `kms key`: master keys.

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    id::KeyVersion,
    wire::{
        key::{CreateKey, Environment, Key, KeyAnswer, KeyChanged, KeyList, KeyQuery, KeyState, UpdateKey},
        lifecycle::{MAX_WRAPS, Rotation},
        name::{Alias, DataClass, Description, KeyName, Owner, Reason, Region},
    },
};

use crate::{
    failure::Failure,
    key_deletion::{Schedule, Usage},
    output::{Output, fields, receipt, table, text, time},
    page, parse,
    terms::{IfRevision, Once},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a key in the HSM
    #[command(after_help = "Example:\n  kms key create --alias records --class clinical --owner team/Radiology")]
    Create(Create),
    /// List keys
    #[command(after_help = "Example:\n  kms key list --class clinical --state enabled")]
    List(List),
    /// Show a key and its versions
    #[command(after_help = "Example:\n  kms key show alias/records")]
    Show {
        /// The key: an id or alias/NAME
        key: KeyName,
    },
    /// Change a key's description, tags, aliases or owner
    #[command(after_help = "Example:\n  kms key update alias/records --description 'Imaging archive' --tag ward=7")]
    Update(Update),
    /// Give a key a new primary version; older ones still unwrap
    #[command(
        after_help = "Afterwards, `kms rewrap` moves files to the new version.\n\nExample:\n  kms key rotate alias/records"
    )]
    Rotate {
        /// The key: an id or alias/NAME
        key: KeyName,
        #[command(flatten)]
        if_revision: IfRevision,
        #[command(flatten)]
        once: Once,
    },
    /// Let a disabled key work again
    #[command(after_help = "Example:\n  kms key enable alias/records")]
    Enable {
        /// The key: an id or alias/NAME
        key: KeyName,
        #[command(flatten)]
        if_revision: IfRevision,
    },
    /// Suspend a key, until it is enabled again
    #[command(
        after_help = "When this returns, no node uses the key any more.\n\nExample:\n  kms key disable alias/records --reason 'stolen laptop, looking into it'"
    )]
    Disable {
        /// The key: an id or alias/NAME
        key: KeyName,
        /// Why; it is kept on record
        #[arg(long)]
        reason: Reason,
        #[command(flatten)]
        if_revision: IfRevision,
    },
    /// Revoke a key, or one of its versions, for good
    #[command(
        after_help = "When this returns, no node uses the key any more, and there is no way back.\n\nExamples:\n  kms key revoke alias/records --reason 'key ceremony was observed'\n  kms key revoke alias/records --version 2 --reason 'made by a faulty HSM'"
    )]
    Revoke {
        /// The key: an id or alias/NAME
        key: KeyName,
        /// Revoke only this version
        #[arg(long = "version", value_parser = version, value_name = "NUMBER")]
        version: Option<KeyVersion>,
        /// Why; it is kept on record
        #[arg(long)]
        reason: Reason,
        #[command(flatten)]
        if_revision: IfRevision,
    },
    /// Show who used a key, and when
    #[command(after_help = "Example:\n  kms key usage alias/records --days 365")]
    Usage(Usage),
    /// Let a key be destroyed after a waiting period
    #[command(
        after_help = "It first shows who used the key. When this returns, no node uses the key any more.\n\nExample:\n  kms key schedule-deletion alias/records --days 14 --reason 'archive is past its retention'"
    )]
    ScheduleDeletion(Schedule),
    /// Do not let a key be destroyed; it is then disabled, or revoked if it was before
    #[command(after_help = "Example:\n  kms key cancel-deletion alias/records")]
    CancelDeletion {
        /// The key: an id or alias/NAME
        key: KeyName,
        #[command(flatten)]
        if_revision: IfRevision,
    },
    /// List who can do something with a key, and by which bindings and policies
    #[command(
        after_help = "What depends on circumstances, such as the encryption context, is `conditional`.\n\nExample:\n  kms key who-can alias/records unwrap"
    )]
    WhoCan(crate::explain::WhoCan),
}

/// When a key gets a new version by itself.
#[derive(Debug, Args)]
pub(crate) struct RotationArguments {
    /// Rotate after so many days, 1 to 3650; 0: not by age
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(0..=3650))]
    rotation_days: Option<u16>,
    /// Rotate before a version has wrapped so often
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_WRAPS)))]
    max_wraps: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Another name for it, by which it is alias/NAME; repeat it for more
    #[arg(long = "alias", value_parser = parse::alias, value_name = "NAME")]
    aliases: Vec<Alias>,
    /// What kind of data it protects, such as `clinical`; fixed
    #[arg(long = "class", value_name = "CLASS")]
    data_class: DataClass,
    /// Where it belongs: production, test or development; fixed
    #[arg(long, default_value_t)]
    environment: Environment,
    /// Where it may be used; the server's own region unless given; fixed
    #[arg(long)]
    region: Option<Region>,
    /// What it is for
    #[arg(long)]
    description: Option<Description>,
    /// Who answers for it: team/NAME or principal/ID
    #[arg(long)]
    owner: Option<Owner>,
    /// A tag; repeat it for more
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    tags: Vec<String>,
    #[command(flatten)]
    rotation: RotationArguments,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those in this state: `enabled`, `disabled`, `revoked`, `pending_deletion` or `destroyed`
    #[arg(long)]
    state: Option<KeyState>,
    /// Only those of this data class
    #[arg(long = "class", value_name = "CLASS")]
    data_class: Option<DataClass>,
    /// Only those of this environment: production, test or development
    #[arg(long)]
    environment: Option<Environment>,
    /// Only those of this region
    #[arg(long)]
    region: Option<Region>,
    /// Only those of this owner: team/NAME or principal/ID
    #[arg(long)]
    owner: Option<Owner>,
    /// Only the one with this alias
    #[arg(long, value_parser = parse::alias, value_name = "NAME")]
    alias: Option<Alias>,
    /// The most to list; all unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The key: an id or alias/NAME
    key: KeyName,
    /// What it is for; '' for nothing
    #[arg(long)]
    description: Option<Description>,
    /// A tag, of all the tags it is to have; repeat it for more
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// An alias, of all the aliases it is to have; repeat it for more
    #[arg(long = "alias", value_parser = parse::alias, value_name = "NAME")]
    aliases: Vec<Alias>,
    /// Take all aliases away; nobody ever gets them again
    #[arg(long, conflicts_with = "aliases")]
    no_aliases: bool,
    /// Who answers for it: team/NAME or principal/ID
    #[arg(long)]
    owner: Option<Owner>,
    #[command(flatten)]
    rotation: RotationArguments,
    #[command(flatten)]
    if_revision: IfRevision,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    let changed = match command {
        Command::Create(create) => create.once.bind(client).create_key(&create.request()?).await?,
        Command::List(list) => return list.run(client, output).await,
        Command::Show { key } => return output.print(&client.key(&key).await?, |KeyAnswer { key, .. }| show(key)),
        Command::Update(update) => update.run(client).await?,
        Command::Rotate { key, if_revision, once } => once.bind(&if_revision.bind(client)).rotate_key(&key).await?,
        Command::Enable { key, if_revision } => if_revision.bind(client).enable_key(&key).await?,
        Command::Disable { key, reason, if_revision } => if_revision.bind(client).disable_key(&key, reason).await?,
        Command::WhoCan(who) => return who.run(client, output).await,
        Command::Usage(usage) => return usage.run(client, output).await,
        Command::ScheduleDeletion(schedule) => schedule.run(client, output).await?,
        Command::CancelDeletion { key, if_revision } => if_revision.bind(client).cancel_key_deletion(&key).await?,
        Command::Revoke { key, version: None, reason, if_revision } => {
            if_revision.bind(client).revoke_key(&key, reason).await?
        }
        Command::Revoke { key, version: Some(version), reason, if_revision } => {
            if_revision.bind(client).revoke_version(&key, version, reason).await?
        }
    };
    output.print(&changed, |changed: &KeyChanged| show(&changed.key) + &receipt(&changed.receipt))
}

impl Create {
    fn request(self) -> Result<CreateKey, Failure> {
        let Self { aliases, data_class, environment, region, description, owner, tags, rotation, once: _ } = self;
        let tags = parse::tags(&tags)?;
        let rotation = rotation.over(Rotation::default());
        Ok(CreateKey { aliases, environment, region, description, owner, tags, rotation, ..CreateKey::new(data_class) })
    }
}

impl RotationArguments {
    fn is_given(&self) -> bool {
        self.rotation_days.is_some() || self.max_wraps.is_some()
    }

    /// The rotation with what was given in the place of what was.
    fn over(&self, was: Rotation) -> Rotation {
        Rotation {
            period_days: self.rotation_days.map_or(was.period_days, |days| Some(days).filter(|days| *days > 0)),
            max_wraps: self.max_wraps.unwrap_or(was.max_wraps),
        }
    }
}

impl Update {
    async fn run(&self, client: &Client) -> Result<KeyChanged, Failure> {
        let mut request = self.request()?;
        if !self.rotation.is_given() {
            return Ok(self.if_revision.bind(client).update_key(&self.key, &request).await?);
        }
        // Both are replaced together; whoever changes one in between is not overwritten.
        let now = client.key(&self.key).await?.key;
        request.rotation = Some(self.rotation.over(now.rotation));
        Ok(self.if_revision.or(now.revision).bind(client).update_key(&self.key, &request).await?)
    }

    fn request(&self) -> Result<UpdateKey, Failure> {
        let tags = (self.no_tags || !self.tags.is_empty()).then(|| parse::tags(&self.tags)).transpose()?;
        let aliases = (self.no_aliases || !self.aliases.is_empty()).then(|| self.aliases.clone());
        let rotation = self.rotation.is_given();
        if self.description.is_none() && tags.is_none() && aliases.is_none() && self.owner.is_none() && !rotation {
            let detail =
                "nothing to change: give --description, --tag, --alias, --owner, --rotation-days or --max-wraps";
            return Err(Failure::Usage(detail.to_owned()));
        }
        Ok(UpdateKey {
            description: self.description.clone(),
            tags,
            aliases,
            owner: self.owner.clone(),
            rotation: None,
        })
    }
}

impl List {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self { state, data_class, environment, region, owner, alias, limit } = self;
        let query = KeyQuery { state, data_class, environment, region, owner, alias, limit: None, cursor: None };
        let list = page::collect(limit, async |limit, cursor| {
            client.list_keys(&KeyQuery { limit, cursor, ..query.clone() }).await
        });
        output.print(&list.await?, |list: &KeyList| {
            let heading = ["id", "aliases", "class", "environment", "region", "state", "version", "created"];
            let rows = list.keys.iter().map(|key| {
                [
                    key.id.to_string(),
                    aliases(key),
                    key.data_class.to_string(),
                    key.environment.to_string(),
                    key.region.to_string(),
                    key.state.to_string(),
                    key.primary_version.to_string(),
                    time(key.created_at),
                ]
            });
            table(heading, rows)
        })
    }
}

fn show(key: &Key) -> String {
    let tags = key.tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let head = fields([
        ("id", key.id.to_string()),
        ("aliases", aliases(key)),
        ("description", key.description.to_string()),
        ("owner", text(key.owner.as_ref())),
        ("tags", tags.join(", ")),
        ("class", key.data_class.to_string()),
        ("environment", key.environment.to_string()),
        ("region", key.region.to_string()),
        ("key store", key.key_store.to_string()),
        ("purpose", key.purpose.to_string()),
        ("algorithm", key.algorithm.to_string()),
        ("origin", key.origin.to_string()),
        ("state", key.state.to_string()),
        ("reason", text(key.reason.as_ref())),
        (
            "deletion due",
            text(key.deletion.filter(|_| key.destroyed_at.is_none()).map(|deletion| time(deletion.due_at))),
        ),
        ("destroyed", text(key.destroyed_at.map(time))),
        ("rotation", rotation(key)),
        ("primary version", key.primary_version.to_string()),
        ("created", time(key.created_at)),
        ("revision", key.revision.to_string()),
    ]);
    let versions = key.versions.iter().map(|version| {
        let number = version.version.to_string();
        [number, version.state.to_string(), time(version.created_at), text(version.reason.as_ref())]
    });
    format!("{head}\n{}", table(["version", "state", "created", "reason"], versions))
}

fn rotation(key: &Key) -> String {
    let wraps = format!("before {} wraps", key.rotation.max_wraps);
    match (key.rotation.period_days, key.rotates_at) {
        (Some(days), Some(at)) => format!("every {days} days, next {}; {wraps}", time(at)),
        (Some(days), None) => format!("every {days} days; {wraps}"),
        (None, _) => wraps,
    }
}

fn aliases(key: &Key) -> String {
    key.aliases.iter().map(|alias| format!("alias/{alias}")).collect::<Vec<_>>().join(", ")
}

fn version(text: &str) -> Result<KeyVersion, String> {
    text.parse().ok().and_then(KeyVersion::new).ok_or_else(|| "versions are numbered from 1".to_owned())
}
