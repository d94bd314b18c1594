-- When an account was erased, in the order of the log: whoever came into a room later sees what its user wrote redacted.
ALTER TABLE accounts ADD COLUMN erased_position BIGINT;
COMMENT ON COLUMN accounts.erased_position IS 'Set with is_erased.';
CREATE INDEX accounts_erased ON accounts (user_nid) WHERE erased_position IS NOT NULL;
