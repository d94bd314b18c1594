-- Guests: accounts without a password, for a look around.
ALTER TABLE accounts ADD COLUMN is_guest BOOLEAN NOT NULL DEFAULT FALSE;
COMMENT ON COLUMN accounts.is_guest IS 'Whether it may do only what guests may. Ends when somebody registers with it.';
CREATE INDEX accounts_of_guests ON accounts (user_nid) WHERE is_guest;
