terraform {
  required_version = ">= 1.11" # write-only arguments: secrets that no state holds

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
