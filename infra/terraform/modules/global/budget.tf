resource "aws_budgets_budget" "monthly" {
  name         = "atoll-${var.environment}"
  budget_type  = "COST"
  limit_amount = tostring(var.budget)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:atoll$%s", var.environment)]
  }

  dynamic "notification" {
    for_each = [
      { percent = 50, type = "ACTUAL" },
      { percent = 100, type = "FORECASTED" },
      { percent = 100, type = "ACTUAL" },
    ]
    content {
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value.percent
      threshold_type             = "PERCENTAGE"
      notification_type          = notification.value.type
      subscriber_email_addresses = var.mail
    }
  }
}
