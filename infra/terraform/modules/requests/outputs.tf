output "connections" {
  description = "What this region asked for, by peer: the peers' links accept it."
  value       = { for name, connection in aws_vpc_peering_connection.to : name => connection.id }
}
