-- Roll-outs that are over are forgotten by age; a tenant that is purged is blotted out of imports.

create index rollout_finished_index on registry.rollout (finished_at) where finished_at is not null;
create index bulk_row_tenant_index on registry.bulk_row (tenant_id) where tenant_id is not null;
