-- What a tier does not name is not granted. Tiers that do not name these were granted 4 connections and any number of
-- requests before that was so.
update registry.tier set limits = '{"connections": 4}' || limits where not limits ? 'connections';
update registry.tier set limits = '{"requests_per_second": null}' || limits where not limits ? 'requests_per_second';
