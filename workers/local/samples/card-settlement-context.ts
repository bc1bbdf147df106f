/** The context file of the card settlement sample, as a user would write it. */
export const CARD_SETTLEMENT_CONTEXT = `version: 1
name: card-settlement
description: Card sales in the ledger against what the acquirer settled
type: "1:1"
sources:
  - name: ledger
    side: LEFT
    type: LEDGER
    format: CSV
    files: [ledger.csv]
    fieldMap:
      external_id: ledger_tx_id
      amount: amount
      currency: currency
      date: occurred_at
      description: description
  - name: acquirer
    side: RIGHT
    type: GATEWAY
    format: JSON
    files: [acquirer-settlement.json]
    fieldMap:
      external_id: acquirer_tx_id
      amount: gross_amount
      currency: currency
      date: settlement_date
rules:
  # The same sale by its keys. It is settled days after it occurred, so the date does not count.
  - name: exact
    priority: 1
    type: EXACT
    config:
      matchFields: [order_id, authorization_code]
      matchReference: false
      matchDate: false
  # The acquirer rounds in its own way. Three decimals, because a dinar has three.
  - name: tolerance
    priority: 2
    type: TOLERANCE
    config:
      matchFields: [order_id, authorization_code]
      matchReference: false
      absTolerance: "0.05"
      percentTolerance: "0"
      roundingScale: 3
      dateWindowDays: 4
  # Late batches come without order and authorization: the same amount, settled 0 to 4 days after the sale.
  - name: lag
    priority: 3
    type: DATE_LAG
    config:
      minDays: 0
      maxDays: 4
      direction: LEFT_BEFORE_RIGHT
reports: [MATCHED, UNMATCHED, EXCEPTIONS]
`;
