//! What each role may do, as a table for people. The policies decide; a test holds the table against them.

use crate::model::{Action, Role};

/// The actions that a role gives, before any guard.
#[must_use]
pub fn actions_of(role: Role) -> Vec<Action> {
    match role {
        Role::KeyAdmin => Action::ALL
            .iter()
            .copied()
            .filter(|action| match action {
                Action::SearchAudit => false,
                action if action.is_internal() => false,
                action => !action.is_data(),
            })
            .collect(),
        Role::Wrapper => using(&[Action::Generate, Action::GenerateWithoutPlaintext, Action::Wrap, Action::TransferTo]),
        Role::Unwrapper => using(&[Action::Unwrap, Action::TransferFrom]),
        Role::Rewrapper => using(&[Action::Rewrap, Action::TransferFrom, Action::TransferTo]),
        Role::Auditor => {
            Action::ALL.iter().copied().filter(|action| !action.is_data() && !action.is_control()).collect()
        }
        Role::Offboarder => vec![
            Action::DescribePrincipal,
            Action::ListPrincipals,
            Action::SuspendPrincipal,
            Action::RemoveCredential,
            Action::DescribeBinding,
            Action::ListBindings,
            Action::EndBinding,
            // What became of its own cut.
            Action::DescribeChange,
            Action::ListRoles,
            Action::DescribeRole,
            Action::WhoAmI,
            Action::Explain,
        ],
        Role::Approver => {
            let mut actions = actions_of(Role::Auditor);
            actions.retain(|action| {
                !matches!(
                    action,
                    Action::SearchAudit
                        | Action::ListAccess
                        | Action::ValidatePolicy
                        | Action::ExplainOthers
                        | Action::PreviewChange
                )
            });
            actions
        }
    }
}

/// What every role that uses keys gives, with these of its own.
fn using(own: &[Action]) -> Vec<Action> {
    let mut actions = own.to_vec();
    actions.extend([
        Action::Random,
        Action::DescribeKey,
        Action::ListKeys,
        Action::ListRoles,
        Action::DescribeRole,
        Action::WhoAmI,
        Action::Explain,
    ]);
    actions
}
