-- When the devices or keys of users last changed. Who has to hear of it follows from who shares a room at the time of asking:
-- a change costs one row, whatever the number of rooms and devices.

CREATE TABLE device_list_changes (
    user_nid BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX device_list_changes_by_position ON device_list_changes (position);
COMMENT ON TABLE device_list_changes IS 'The latest change of each user. An earlier one needs no row: who has not heard of it hears of the latest.';
