/** The context file of the bank statement sample, as a user would write it. */
export const BANK_STATEMENT_CONTEXT = `version: 1
name: bank-statement
description: Postings in the ledger against the lines of the bank's statement
type: "1:1"
sources:
  - name: ledger
    side: LEFT
    type: LEDGER
    format: JSON
    files: [ledger-export.json]
    fieldMap:
      external_id: ledger_entry_id
      amount: amount
      currency: currency
      date: posted_at
      description: description
  - name: bank
    side: RIGHT
    type: BANK
    format: CSV
    files: [bank-statement.csv]
    fieldMap:
      external_id: bank_entry_id
      amount: amount
      currency: currency
      date: booking_date
      description: description
rules:
  # The payment's own identifier, booked on the UTC day on which it was posted. An empty one identifies nothing.
  - name: end-to-end-id
    priority: 1
    type: EXACT
    config:
      referenceField: end_to_end_id
      referenceMustSet: true
  # Some lines come without it: then the reference, as typed, whatever its case and the blanks around it.
  - name: reference
    priority: 2
    type: EXACT
    config:
      referenceField: reference
      referenceMustSet: true
  - name: reference-tolerance
    priority: 3
    type: TOLERANCE
    config:
      referenceField: reference
      referenceMustSet: true
      absTolerance: "0.05"
      percentTolerance: "0"
      roundingScale: 3
  # Posted in the evening, booked on the next day.
  - name: lag
    priority: 4
    type: DATE_LAG
    config:
      matchFields: [end_to_end_id]
      minDays: 0
      maxDays: 1
      direction: LEFT_BEFORE_RIGHT
reports: [MATCHED, UNMATCHED, EXCEPTIONS]
`;
