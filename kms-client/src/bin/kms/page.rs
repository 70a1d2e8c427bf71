//! Lists that come in pages, put together again.

use kms_client::{
    client,
    wire::{
        audit::AuditRecords, binding::BindingList, change::ChangeList, explain::AccessList, key::KeyList, name::Cursor,
        principal::PrincipalList,
    },
};

/// The most the server gives at once.
const LARGEST_PAGE: u32 = 1000;

/// A page of a list.
pub(crate) trait Page: Sized {
    fn length(&self) -> usize;
    fn cursor(&self) -> Option<&Cursor>;
    fn append(&mut self, next: Self);
}

macro_rules! pages {
    ($($page:ty: $items:ident;)+) => {$(
        impl Page for $page {
            fn length(&self) -> usize {
                self.$items.len()
            }

            fn cursor(&self) -> Option<&Cursor> {
                self.next_cursor.as_ref()
            }

            fn append(&mut self, next: Self) {
                self.$items.extend(next.$items);
                self.next_cursor = next.next_cursor;
                self.record = next.record;
            }
        }
    )+};
}

pages! {
    AccessList: access;
    AuditRecords: records;
    BindingList: bindings;
    ChangeList: changes;
    KeyList: keys;
    PrincipalList: principals;
}

/// Up to so many items, in as many pages as it takes; all of them without a limit.
pub(crate) async fn collect<P: Page>(
    limit: Option<u32>,
    fetch: impl AsyncFn(Option<u32>, Option<Cursor>) -> client::Result<P>,
) -> client::Result<P> {
    let wanted = |have: usize| {
        let missing = limit.map_or(LARGEST_PAGE, |limit| limit.saturating_sub(u32::try_from(have).unwrap_or(u32::MAX)));
        missing.min(LARGEST_PAGE)
    };
    let mut list = fetch(Some(wanted(0)), None).await?;
    while let Some(cursor) = list.cursor().cloned() {
        let wanted = wanted(list.length());
        if wanted == 0 {
            break;
        }
        list.append(fetch(Some(wanted), Some(cursor)).await?);
    }
    Ok(list)
}
