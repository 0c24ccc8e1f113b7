#!/bin/sh
# Connects the four servers, once the four SQL files have run. The arguments are connection strings:
#
#     subscribe.sh ORDERS PAYMENTS SHIPPING FULFILMENT
#
# The servers need wal_level = logical, and each must be able to reach the others with the connection strings. CREATE
# SUBSCRIPTION needs a superuser or, from PostgreSQL 16 on, a member of pg_create_subscription.
set -e
orders=$1 payments=$2 shipping=$3 fulfilment=$4

# subscribe AT NAME PUBLISHER PUBLICATION
subscribe()
{
	psql -XqAt -v ON_ERROR_STOP=1 -v name="$2" -v publisher="$3" -v publication="$4" -d "$1" <<'SQL'
CREATE SUBSCRIPTION :"name" CONNECTION :'publisher' PUBLICATION :"publication";
SQL
}

subscribe "$fulfilment" orders "$orders" events
subscribe "$fulfilment" payments "$payments" events
subscribe "$fulfilment" shipping "$shipping" events
subscribe "$orders" commands_for_orders "$fulfilment" for_orders
subscribe "$payments" commands_for_payments "$fulfilment" for_payments
subscribe "$shipping" commands_for_shipping "$fulfilment" for_shipping
