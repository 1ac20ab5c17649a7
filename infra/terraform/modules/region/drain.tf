# How machines come and go. A new one counts when its roles are ready; one that must go, for scaling, rebalancing or a
# spot notice, first drains: atoll-drain.service on it sees the notice, drains the role, and completes the hook.

locals {
  hooks = { for kind, machine in local.machines : kind => merge(
    {
      ready = {
        transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
        timeout_s  = 1800
        otherwise  = "ABANDON" # another one is tried
      }
    },
    machine.drain_s == 0 ? {} : {
      drained = {
        transition = "autoscaling:EC2_INSTANCE_TERMINATING"
        timeout_s  = machine.drain_s + 60
        otherwise  = "CONTINUE"
      }
    },
  ) }
}
