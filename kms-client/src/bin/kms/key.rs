//! `kms key`: master keys.

use clap::{Args, Subcommand};
use kms_client::{
    client::Client,
    id::KeyVersion,
    wire::{
        key::{CreateKey, Environment, Key, KeyAnswer, KeyChanged, KeyList, KeyQuery, KeyState, UpdateKey},
        name::{Alias, DataClass, Description, KeyName, Owner, Reason, Region},
        receipt::Revision,
    },
};

use crate::{
    failure::Failure,
    output::{Output, fields, receipt, table, text, time},
    page, parse,
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
    },
    /// Let a disabled key work again
    #[command(after_help = "Example:\n  kms key enable alias/records")]
    Enable {
        /// The key: an id or alias/NAME
        key: KeyName,
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
    },
    /// List who can do something with a key, and by which bindings and policies
    #[command(
        after_help = "What depends on circumstances, such as the encryption context, is `conditional`.\n\nExample:\n  kms key who-can alias/records unwrap"
    )]
    WhoCan(crate::explain::WhoCan),
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
    /// Only if this is still the key's revision
    #[arg(long, value_name = "NUMBER")]
    expected_revision: Option<Revision>,
}

pub(crate) async fn run(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    let changed = match command {
        Command::Create(create) => client.create_key(&create.request()?).await?,
        Command::List(list) => return list.run(client, output).await,
        Command::Show { key } => return output.print(&client.key(&key).await?, |KeyAnswer { key, .. }| show(key)),
        Command::Update(update) => client.update_key(&update.key, &update.request()?).await?,
        Command::Rotate { key } => client.rotate_key(&key).await?,
        Command::Enable { key } => client.enable_key(&key).await?,
        Command::Disable { key, reason } => client.disable_key(&key, reason).await?,
        Command::WhoCan(who) => return who.run(client, output).await,
        Command::Revoke { key, version: None, reason } => client.revoke_key(&key, reason).await?,
        Command::Revoke { key, version: Some(version), reason } => client.revoke_version(&key, version, reason).await?,
    };
    output.print(&changed, |changed: &KeyChanged| show(&changed.key) + &receipt(&changed.receipt))
}

impl Create {
    fn request(self) -> Result<CreateKey, Failure> {
        let Self { aliases, data_class, environment, region, description, owner, tags } = self;
        let tags = parse::tags(&tags)?;
        Ok(CreateKey { aliases, environment, region, description, owner, tags, ..CreateKey::new(data_class) })
    }
}

impl Update {
    fn request(&self) -> Result<UpdateKey, Failure> {
        let tags = (self.no_tags || !self.tags.is_empty()).then(|| parse::tags(&self.tags)).transpose()?;
        let aliases = (self.no_aliases || !self.aliases.is_empty()).then(|| self.aliases.clone());
        if self.description.is_none() && tags.is_none() && aliases.is_none() && self.owner.is_none() {
            return Err(Failure::Usage("nothing to change: give --description, --tag, --alias or --owner".to_owned()));
        }
        Ok(UpdateKey {
            description: self.description.clone(),
            tags,
            aliases,
            owner: self.owner.clone(),
            expected_revision: self.expected_revision,
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

fn aliases(key: &Key) -> String {
    key.aliases.iter().map(|alias| format!("alias/{alias}")).collect::<Vec<_>>().join(", ")
}

fn version(text: &str) -> Result<KeyVersion, String> {
    text.parse().ok().and_then(KeyVersion::new).ok_or_else(|| "versions are numbered from 1".to_owned())
}
