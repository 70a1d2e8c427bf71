//! Both databases have the same tables.

use std::{collections::BTreeSet, fs, path::Path};

use super::database::TestDatabase;

#[test]
fn both_folders_hold_the_same_steps() {
    let steps = |folder: &str| -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder);
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(!steps("sqlite").is_empty());
    assert_eq!(steps("sqlite"), steps("postgres"));
}

#[tokio::test]
async fn both_databases_have_the_same_columns_and_indexes() {
    let Some(postgres) = TestDatabase::postgres().await else { return };
    let sqlite = TestDatabase::sqlite().await;
    let lines = |text: String| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };

    let of_sqlite = lines(sqlite.ask(SQLITE_COLUMNS).await);
    assert!(of_sqlite.len() > 60, "{of_sqlite:?}");
    assert_eq!(of_sqlite, lines(postgres.ask(POSTGRES_COLUMNS).await));

    let of_sqlite = lines(sqlite.ask(SQLITE_INDEXES).await);
    assert!(of_sqlite.len() > 10, "{of_sqlite:?}");
    assert_eq!(of_sqlite, lines(postgres.ask(POSTGRES_INDEXES).await));

    sqlite.drop().await;
    postgres.drop().await;
}

/// A line for each column: table, column, type as SQLite stores it, whether it may be NULL, place in the primary key.
const SQLITE_COLUMNS: &str = "SELECT group_concat(m.name || ' ' || c.name || ' ' || c.type || ' ' || \
     CASE WHEN c.\"notnull\" THEN 'required' ELSE 'optional' END || ' ' || c.pk, char(10)) \
     FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\'";

const POSTGRES_COLUMNS: &str = "SELECT string_agg(c.table_name || ' ' || c.column_name || ' ' || \
     CASE c.data_type WHEN 'bigint' THEN 'INTEGER' WHEN 'boolean' THEN 'INTEGER' WHEN 'uuid' THEN 'BLOB' \
     WHEN 'bytea' THEN 'BLOB' WHEN 'text' THEN 'TEXT' ELSE c.data_type END || ' ' || \
     CASE c.is_nullable WHEN 'NO' THEN 'required' ELSE 'optional' END || ' ' || COALESCE(k.ordinal_position, 0), chr(10)) \
     FROM information_schema.columns c LEFT JOIN (information_schema.key_column_usage k \
     JOIN information_schema.table_constraints t ON t.constraint_name = k.constraint_name AND t.constraint_type = 'PRIMARY KEY') \
     ON k.table_name = c.table_name AND k.column_name = c.column_name \
     WHERE c.table_schema = 'public' AND c.table_name NOT LIKE '\\_sqlx%'";

/// A line for each named index: its table and name.
const SQLITE_INDEXES: &str = "SELECT group_concat(tbl_name || ' ' || name, char(10)) FROM sqlite_schema \
     WHERE type = 'index' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

const POSTGRES_INDEXES: &str = "SELECT string_agg(tablename || ' ' || indexname, chr(10)) FROM pg_indexes \
     WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint)";
