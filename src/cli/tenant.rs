//! `--tenant`, for the commands that are about one: where the box has one alone, it need not be named, nor [`USUAL`].

use super::client::{Client, ClientError};
use super::failure::Failure;
use crate::id::TenantId;
use crate::keeper::protocol::{Answer, Request};
use clap::Args;

/// The one that is meant among several where none is named.
const USUAL: &str = "main";

/// Which tenant.
#[derive(Debug, Args)]
pub struct Tenant {
    /// The tenant; needed only where the box has several, to name another than `main`
    #[arg(long)]
    tenant: Option<TenantId>,
}

impl Tenant {
    /// The one that was named, or the box's only or usual one.
    pub fn of(&self, data: &super::Data) -> Result<TenantId, Failure> {
        let answer = Client::connect(&data.data, true)?.ask_plainly(&Request::Tenants)?;
        let Answer::Tenants(tenants) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        chosen(self.tenant.as_ref(), &tenants).map_err(Failure::Input)
    }
}

fn chosen(named: Option<&TenantId>, tenants: &[TenantId]) -> Result<TenantId, String> {
    let all = || {
        let all: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
        all.join(", ")
    };
    match (named, tenants) {
        (Some(named), _) if tenants.contains(named) => Ok(named.clone()),
        (Some(named), _) => Err(format!("the box has no tenant {named}; it has {}", all())),
        (None, [only]) => Ok(only.clone()),
        (None, _) if let Some(usual) = tenants.iter().find(|one| one.as_str() == USUAL) => {
            Ok(usual.clone())
        }
        (None, _) => Err(format!(
            "the box has several tenants; give --tenant with one of {}",
            all()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_tenant_need_not_be_named_and_of_several_all_are_told() {
        let tenant = |name: &str| name.parse::<TenantId>().expect("a tenant");
        let (one, two) = (tenant("one"), tenant("two"));
        let (both, told) = ([one.clone(), two.clone()], "one, two");
        assert_eq!(chosen(None, &both[..1]), Ok(one.clone()));
        assert_eq!(chosen(Some(&two), &both), Ok(two));
        for named in [None, Some(&tenant("main"))] {
            assert!(chosen(named, &both).is_err_and(|why| why.contains(told)));
        }
        assert!(chosen(Some(&tenant("main")), &both[..1]).is_err());
        let usual = [one, tenant("main")];
        assert_eq!(chosen(None, &usual), Ok(tenant("main")));
    }
}
